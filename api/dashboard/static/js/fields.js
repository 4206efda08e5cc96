// A JSON Schema of settings as a form. An object is a fieldset of its settings; a family is a select of its members, followed by
// that member's settings. It knows nothing of the service: it reports changes, and is told the document and what is wrong.

const NUMBER = /^[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:e[-+]?\d+)?$/i;
const LEFT_OUT = "left out";

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export class Fields {
  /** `changed` gets a list of {pointer, value}, null for a setting to leave out, and whether the change is complete. */
  constructor(root, schema, changed) {
    Object.assign(this, { root, schema, changed, document: {}, drawn: new Map(), parts: [] });
    const own = this.#part(null, "Job", "What it is called, where it belongs, and how often it is run.");
    this.#settings(own, "", schema.properties);
    for (const [name, node] of Object.entries(schema.properties)) {
      const members = node.discriminator?.mapping, inside = this.#followed(node);
      if (!members && !inside?.properties) continue;
      const part = this.#part(name, name, node.description);
      if (members) this.#family(part, `/${name}`, node, Object.keys(members));
      else this.#settings(part, `/${name}`, inside.properties);
    }
  }

  /** Show a document's values: those of the field that is being written in stay. */
  show(document) {
    this.document = document;
    for (const part of this.parts) if (part.members) this.#member(part);
    for (const field of this.drawn.values()) field.show(this.#at(field.pointer));
  }

  /** Put each problem at its field; returns those that no field is drawn for. */
  mark(problems) {
    for (const field of this.drawn.values()) field.mark([]);
    const rest = [], found = new Map();
    for (const problem of problems) {
      const field = this.drawn.get(problem.pointer) ?? this.drawn.get(problem.pointer.replace(/\/name$/, ""));
      if (field) found.set(field, [...(found.get(field) ?? []), problem]);
      else rest.push(problem);
    }
    for (const [field, own] of found) field.mark(own);
    return rest;
  }

  #part(name, title, text = "") {
    const settings = element("div");
    const legend = element("legend", { textContent: title });
    const box = element("fieldset", {}, legend, element("p", { className: "hint", textContent: text }), settings);
    const part = { name, box, settings, fields: [] };
    this.root.append(box);
    this.parts.push(part);
    return part;
  }

  #family(part, pointer, node, members) {
    const choice = { enum: members, default: node.default?.name };
    const field = new Field(pointer, "name", choice, (_, name) => {
      const chosen = name ?? node.default?.name;
      this.changed([{ pointer, value: chosen ? { name: chosen } : null }], true);
    });
    Object.assign(part, { pointer, node, members, doc: field.hint });
    part.settings.before(field.box);
    this.drawn.set(pointer, field);
  }

  /** Draw the settings of the member that the document names. */
  #member(part) {
    const value = this.#at(part.pointer), name = value?.name ?? value ?? part.node.default?.name;
    if (part.member === name) return;
    for (const pointer of part.fields) this.drawn.delete(pointer);
    Object.assign(part, { member: name, fields: [] });
    part.settings.replaceChildren();
    const member = part.members.includes(name) ? this.#followed({ $ref: part.node.discriminator.mapping[name] }) : null;
    part.doc.textContent = member?.description ?? "";
    if (member) this.#settings(part, part.pointer, member.properties, { pointer: `${part.pointer}/name`, value: name });
  }

  /** Draw settings; `named` is said with each change, so that the document names the member whose setting it is. */
  #settings(part, pointer, properties, named = null, within = "") {
    for (const [name, node] of Object.entries(properties)) {
      const inside = optional(node) && this.#followed(optional(node));
      if (inside?.properties) this.#optional(part, `${pointer}/${name}`, name, node, inside);
      if (!drawable(node) || (named && name === "name")) continue;
      this.#field(part, new Field(`${pointer}/${name}`, within + name, node, (at, value, complete) => {
        this.changed([...(named ? [named] : []), { pointer: at, value }], complete);
      }));
    }
  }

  /** An object that may be left out: a box to tick, then its settings. A constant of it stands for it where nothing else is set. */
  #optional(part, pointer, name, node, inside) {
    const [key, { const: value }] = Object.entries(inside.properties).find(([, one]) => one.const !== undefined);
    const said = { pointer: `${pointer}/${key}`, value };
    const box = { type: "boolean", default: false, description: node.description };
    this.#field(part, new Field(pointer, name, box, (at, ticked, complete) => {
      this.changed([ticked ? said : { pointer: at, value: null }], complete);
    }));
    this.#settings(part, pointer, inside.properties, said, `${name}.\u200b`);
  }

  #field(part, field) {
    part.settings.append(field.box);
    part.fields.push(field.pointer);
    this.drawn.set(field.pointer, field);
  }

  #followed(node) {
    return node.$ref ? this.schema.$defs[node.$ref.split("/").at(-1)] : node;
  }

  #at(pointer) {
    const inside = (here, key) => (Object.hasOwn(Object(here), key) ? here[key] : undefined);
    return pointer.split("/").slice(1).reduce(inside, this.document);
  }
}

const kinds = (node) => (node.anyOf ?? [node]).flatMap((one) => one.type ?? []);
const choices = (node) => (node.anyOf ?? [node]).flatMap((one) => one.enum ?? []);

/** The object behind a setting that is null unless it is asked for. */
const optional = (node) => (node.default === null ? node.anyOf?.find((one) => one.$ref) : undefined);

/** Whether one control can hold the setting: a constant needs none, and lists and objects are written in the document. */
const drawable = (node) => node.const === undefined && kinds(node).some((kind) => /string|number|integer|boolean/.test(kind));

/** One setting: its label, its control, what it means, and what is wrong with it. */
class Field {
  constructor(pointer, name, node, changed) {
    Object.assign(this, { pointer, node, changed, id: `set${pointer.replaceAll("/", "-")}` });
    this.control = this.#control();
    this.error = element("p", { className: "err", id: `${this.id}-error`, hidden: true });
    this.hint = element("p", { className: "hint", id: `${this.id}-hint`, textContent: node.description ?? "" });
    this.control.id = this.id;
    this.control.dataset.pointer = pointer;
    this.control.setAttribute("aria-describedby", `${this.hint.id} ${this.error.id}`);
    const label = element("label", { htmlFor: this.id, textContent: name });
    this.box = element("div", { className: "field" }, label, this.control, this.error, this.hint);
  }

  show(value) {
    if (document.activeElement === this.control && this.control.type === "text") return;
    const nested = typeof value === "object" && value !== null;
    if (this.control.type === "checkbox") this.control.checked = value ?? this.node.default;
    else if (this.listed) this.control.value = value?.name ?? value ?? this.node.default ?? "";
    else this.control.value = nested ? JSON.stringify(value) : value ?? "";
    if (!this.listed) this.control.readOnly = nested;
  }

  mark(problems) {
    this.error.hidden = !problems.length;
    this.error.textContent = problems.map(({ message, expected }) =>
      expected && !message.includes(expected) ? `${message}; right: ${expected}` : message).join(". ");
    if (problems.length) this.control.setAttribute("aria-invalid", "true");
    else this.control.removeAttribute("aria-invalid");
  }

  #control() {
    this.listed = choices(this.node).length > 0;
    if (this.listed) return this.#select();
    if (kinds(this.node).includes("boolean")) {
      const box = element("input", { type: "checkbox" });
      box.addEventListener("change", () => this.#report(box.checked, true));
      return box;
    }
    const { default: usual } = this.node;
    const shown = { className: "in mono", placeholder: usual ?? LEFT_OUT };
    const text = element("input", { type: "text", spellcheck: false, autocomplete: "off", ...shown });
    text.addEventListener("input", () => this.#report(this.#value(text.value.trim()), false));
    text.addEventListener("change", () => this.#report(this.#value(text.value.trim()), true));
    return text;
  }

  #select() {
    const select = element("select", { className: "in mono" });
    if (this.node.default == null) select.append(new Option(kinds(this.node).includes("null") ? LEFT_OUT : "choose", ""));
    select.append(...choices(this.node).map((word) => new Option(word, word)));
    select.addEventListener("change", () => this.#report(select.value || null, true));
    return select;
  }

  #value(text) {
    const numeric = kinds(this.node).some((kind) => kind === "number" || kind === "integer");
    return text === "" ? null : numeric && NUMBER.test(text) && Number.isFinite(Number(text)) ? Number(text) : text;
  }

  /** A setting with its default is left out. */
  #report(value, complete) {
    this.changed(this.pointer, value === this.node.default ? null : value, complete);
  }
}

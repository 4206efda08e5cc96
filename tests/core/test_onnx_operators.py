"""Each ONNX operator that is rebuilt in torch computes what onnxruntime computes, in the opset that says so."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from core.foreign.onnx.file import Runtime
from core.foreign.onnx.graph import OPERATORS, Graph
from core.foreign.onnx.node import Unsupported

IMAGE = (2, 3, 9, 8)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape) + sum(shape)).standard_normal(shape).astype(np.float32)


def number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def model(
    op: str, inputs: list[np.ndarray | None], opset: int = 17, shape: Any = IMAGE, outputs: int = 1, **attributes: Any
) -> onnx.ModelProto:
    """A graph of one node, whose inputs behind the first are stored."""
    names = ["x", *(f"i{number}" if value is not None else "" for number, value in enumerate(inputs))]
    stored = [numpy_helper.from_array(v, f"i{n}") for n, v in enumerate(inputs) if v is not None]
    node = helper.make_node(op, names, [f"y{number}" for number in range(outputs)], **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y0", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "one", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


CONV = floats(4, 3, 3, 3)
NORM = [np.abs(floats(3)) + 0.1, floats(3), floats(3), np.abs(floats(3)) + 0.1]
POOL = {"kernel_shape": [3, 2], "strides": [2, 2]}
CASES: dict[str, tuple[str, list[np.ndarray | None], dict[str, Any]]] = {
    "conv": ("Conv", [CONV, floats(4)], {"pads": [1, 1, 1, 1]}),
    "conv strided": ("Conv", [CONV], {"strides": [2, 3], "dilations": [2, 1]}),
    "conv padded unevenly": ("Conv", [CONV], {"pads": [0, 1, 2, 0]}),
    "conv same upper": ("Conv", [CONV], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "conv same lower": ("Conv", [floats(4, 3, 2, 2)], {"auto_pad": "SAME_LOWER"}),
    "conv valid": ("Conv", [CONV], {"auto_pad": "VALID"}),
    "conv in groups": ("Conv", [floats(6, 1, 3, 3)], {"group": 3}),
    "conv along a line": ("Conv", [floats(4, 3, 3)], {"shape": (2, 3, 9)}),
    "max pool": ("MaxPool", [], POOL),
    "max pool padded": ("MaxPool", [], POOL | {"pads": [1, 1, 1, 1]}),
    "max pool padded unevenly": ("MaxPool", [], POOL | {"pads": [0, 0, 2, 1]}),
    "max pool hanging over": ("MaxPool", [], POOL | {"ceil_mode": 1}),
    "average pool": ("AveragePool", [], POOL),
    "average pool padded": ("AveragePool", [], POOL | {"pads": [1, 1, 1, 1]}),
    "average pool counting": ("AveragePool", [], POOL | {"pads": [1, 1, 1, 1], "count_include_pad": 1}),
    "average pool padded unevenly": ("AveragePool", [], POOL | {"pads": [0, 0, 2, 1]}),
    "average pool counting unevenly": ("AveragePool", [], POOL | {"pads": [0, 0, 2, 1], "count_include_pad": 1}),
    "global average": ("GlobalAveragePool", [], {}),
    "global max": ("GlobalMaxPool", [], {}),
    "batch norm": ("BatchNormalization", NORM, {"epsilon": 0.01}),
    "instance norm": ("InstanceNormalization", NORM[:2], {}),
    "layer norm": ("LayerNormalization", [floats(9, 8), floats(9, 8)], {"axis": 2}),
    "response norm": ("LRN", [], {"size": 3, "alpha": 0.1}),
    "gemm": ("Gemm", [floats(5, 7), floats(7)], {"shape": (4, 5), "alpha": 0.5, "beta": 2.0}),
    "gemm transposed": ("Gemm", [floats(7, 5)], {"shape": (5, 4), "transA": 1, "transB": 1}),
    "matmul": ("MatMul", [floats(8, 4)], {}),
    "add": ("Add", [floats(3, 1, 1)], {}),
    "sub": ("Sub", [floats(8)], {}),
    "mul": ("Mul", [floats(3, 1, 1)], {}),
    "div": ("Div", [floats(3, 1, 1)], {}),
    "pow": ("Pow", [number(2)], {}),
    "max": ("Max", [floats(8), floats(9, 1)], {}),
    "min": ("Min", [floats(8)], {}),
    "sum": ("Sum", [floats(8), floats(9, 1)], {}),
    "mean": ("Mean", [floats(8), floats(9, 1)], {}),
    "clip": ("Clip", [number(-0.5), number(0.5)], {}),
    "clip below": ("Clip", [None, number(0.5)], {}),
    "clip of old": ("Clip", [], {"opset": 9, "min": -0.5}),
    "clip not at all": ("Clip", [], {}),
    "leaky relu": ("LeakyRelu", [], {"alpha": 0.2}),
    "prelu": ("PRelu", [floats(3, 1, 1)], {}),
    "elu": ("Elu", [], {"alpha": 0.7}),
    "selu": ("Selu", [], {}),
    "hard sigmoid": ("HardSigmoid", [], {"alpha": 0.3}),
    "hard swish": ("HardSwish", [], {}),
    "gelu": ("Gelu", [], {"opset": 20}),
    "gelu by tanh": ("Gelu", [], {"opset": 20, "approximate": "tanh"}),
    "softmax": ("Softmax", [], {"axis": 1}),
    "softmax of old": ("Softmax", [], {"opset": 11, "axis": 2}),
    "log-softmax": ("LogSoftmax", [], {}),
    "reduce mean": ("ReduceMean", [], {"axes": [2, 3], "keepdims": 0}),
    "reduce mean by input": ("ReduceMean", [ints(-1)], {"opset": 18}),
    "reduce all": ("ReduceMean", [], {}),
    "reduce nothing": ("ReduceSum", [], {"noop_with_empty_axes": 1}),
    "reduce sum": ("ReduceSum", [ints(1)], {}),
    "reduce max": ("ReduceMax", [], {"axes": [1]}),
    "reduce min": ("ReduceMin", [], {"axes": [-1]}),
    "dropout": ("Dropout", [number(0.5)], {}),
    "dropout of old": ("Dropout", [], {"opset": 10, "ratio": 0.5}),
    "flatten": ("Flatten", [], {}),
    "flatten at two": ("Flatten", [], {"axis": 2}),
    "flatten from behind": ("Flatten", [], {"axis": -1}),
    "reshape": ("Reshape", [ints(0, -1, 4)], {}),
    "transpose": ("Transpose", [], {"perm": [0, 2, 3, 1]}),
    "transpose all": ("Transpose", [], {}),
    "concat": ("Concat", [floats(2, 1, 9, 8)], {"axis": 1}),
    "pad": ("Pad", [ints(0, 0, 1, 2, 0, 1, 0, 3), number(0.3)], {}),
    "pad of old": ("Pad", [], {"opset": 10, "pads": [0, 0, 1, 2, 0, 0, 0, 3], "value": 0.3}),
    "pad some axes": ("Pad", [ints(1, 2), None, ints(-1)], {"opset": 18}),
    "pad mirrored": ("Pad", [ints(0, 0, 1, 2, 0, 0, 0, 3)], {"mode": "reflect"}),
    "pad with the edge": ("Pad", [ints(0, 0, 1, 2, 0, 0, 0, 3)], {"mode": "edge"}),
    "pad away": ("Pad", [ints(0, 0, -1, 0, 0, 0, -1, 0)], {}),
    "slice": ("Slice", [ints(1, -3), ints(8, 2**62), ints(2, 3)], {}),
    "slice backwards": ("Slice", [ints(-1), ints(-(2**63) + 1), ints(2), ints(-2)], {}),
    "slice without axes": ("Slice", [ints(0, 1), ints(1, 3)], {}),
    "slice of old": ("Slice", [], {"opset": 9, "starts": [1], "ends": [4], "axes": [3]}),
    "gather": ("Gather", [ints(0, -1)], {"axis": 2}),
    "gather one": ("Gather", [np.array(1, np.int64)], {"axis": 1}),
    "squeeze": ("Squeeze", [ints(1)], {"shape": (2, 1, 4, 1)}),
    "squeeze all": ("Squeeze", [], {"shape": (2, 1, 4, 1)}),
    "squeeze of old": ("Squeeze", [], {"opset": 11, "axes": [-1], "shape": (2, 1, 4, 1)}),
    "unsqueeze": ("Unsqueeze", [ints(0, -1)], {}),
    "unsqueeze of old": ("Unsqueeze", [], {"opset": 11, "axes": [1]}),
    "expand": ("Expand", [ints(2, 5, 1, 3)], {"shape": (2, 1, 4, 1)}),
    "split": ("Split", [ints(2, 1)], {"axis": 1, "outputs": 2}),
    "split alike": ("Split", [], {"axis": 3, "outputs": 2}),
    "split of old": ("Split", [], {"opset": 11, "split": [4, 5], "axis": 2, "outputs": 2}),
    "split unevenly": ("Split", [], {"opset": 18, "axis": 2, "num_outputs": 2, "outputs": 2}),
}
PLAIN = ["Abs", "Ceil", "Erf", "Exp", "Floor", "Identity", "Neg", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign"]
PLAIN += ["Softplus", "Tanh"]
CASES |= {op: (op, [], {}) for op in PLAIN}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_operator_computes_what_onnxruntime_does(case: tuple[str, list[np.ndarray], dict[str, Any]]) -> None:
    op, inputs, settings = case
    made = model(op, inputs, **settings)
    x = torch.from_numpy(floats(*settings.get("shape", IMAGE)))
    torch.testing.assert_close(Graph(made)(x), Runtime(made)(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("op", ["Log", "Sqrt"])
def test_an_operator_on_positive_numbers_too(op: str) -> None:
    made, x = model(op, []), torch.from_numpy(floats(*IMAGE)).abs() + 0.1
    torch.testing.assert_close(Graph(made)(x), Runtime(made)(x))


def test_every_operator_is_compared() -> None:
    """Those that make shapes or masks are in the exported networks and in the graph below."""
    compared = {op for op, _, _ in CASES.values()} | {"Log", "Sqrt"}
    assert set(OPERATORS) - compared == {"Cast", "ConstantOfShape", "Equal", "Shape", "Where"}


def test_shapes_and_masks_are_computed_as_onnxruntime_does() -> None:
    """where(x == 0, constant of x's shape, x), the shape cut and cast on its way."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["full"], value=helper.make_tensor("v", 1, [1], [0.25])),
        helper.make_node("Constant", [], ["zero"], value_float=0.0),
        helper.make_node("Equal", ["x", "zero"], ["mask"]),
        helper.make_node("Where", ["mask", "full", "x"], ["chosen"]),
        helper.make_node("Cast", ["mask"], ["counted"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["chosen", "counted"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    graph = helper.make_graph(nodes, "shapes", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    images = torch.tensor([[0.0, 1.0, 2.0, 0.0], [3.0, 0.0, 0.0, 4.0], [5.0, 6.0, 7.0, 0.0]])
    found = Graph(made)(images)
    torch.testing.assert_close(found, Runtime(made)(images))
    torch.testing.assert_close(found, torch.where(images == 0, torch.tensor(1.25), images))


def test_a_graph_of_a_fixed_batch_takes_any_number_of_images() -> None:
    """The reshape in it holds for two images at a time and no other number."""
    made = model("Reshape", [ints(2, 12)], shape=(2, 3, 4))
    x = torch.rand(5, 3, 4)
    for network in (Graph(made), Runtime(made)):
        torch.testing.assert_close(network(x), x.flatten(1))


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (model("Hardmax", []), "the operator Hardmax"),
        (model("Relu", [], opset=6), "opset 6, older than 7"),
        (model("MaxPool", [], **POOL, pads=[0, 0, 2, 1], ceil_mode=1), "ceil_mode and pads"),
        (model("AveragePool", [], opset=19, kernel_shape=[2, 2], dilations=[2, 2]), "AveragePool with dilations"),
        (model("BatchNormalization", NORM, training_mode=1), "training_mode = 1"),
        (model("Dropout", [number(0.5), np.array(True)]), "Dropout in training mode"),
        (model("Pad", [ints(0, 1, 0, 0, 0, 0, 0, 0)], mode="reflect"), "Pad of batch or channels"),
    ],
)
def test_what_is_not_known_is_refused(made: onnx.ModelProto, says: str) -> None:
    with pytest.raises(Unsupported, match=says):
        Graph(made)(torch.from_numpy(floats(*IMAGE)))


def test_an_output_that_is_not_computed_is_refused() -> None:
    """Where the largest numbers of max-pooling stood."""
    made = model("MaxPool", [], outputs=2, **POOL)
    made.graph.output[0].name = "z"
    made.graph.node.append(helper.make_node("Cast", ["y1"], ["z"], to=TensorProto.FLOAT))
    with pytest.raises(Unsupported, match="what Cast takes as y1"):
        Graph(made)

"""`python -m api.first_token NAME`: makes an administrator and prints a token of theirs, once. For a fresh installation."""

import sys

from store import tokens
from store.database import transaction


def main(name: str) -> None:
    """Print the token."""
    with transaction() as session:
        token = tokens.issue(session, tokens.user_named(session, name, "admin"), "first")
    sys.stdout.write(token + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

"""How Alembic reaches the database: the address that `upgrade` was given, or the settings'."""

from alembic import context
from sqlalchemy import NullPool, create_engine

from store.database import Base
from store.settings import settings
from store.tables import Job

assert Job.metadata is Base.metadata  # the import fills the metadata

url = context.config.attributes.get("url") or settings().database_url
with create_engine(url, poolclass=NullPool).connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()

# One image, two targets: `api` (also runs the migrations) and `worker`.
#   docker build --target api .        docker build --target worker .
FROM python:3.12-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY requirements/torch.txt requirements/server.txt requirements/torchattacks.txt requirements/
RUN pip install -r requirements/torch.txt \
    && pip install --require-hashes -r requirements/server.txt \
    && pip install --no-deps --require-hashes -r requirements/torchattacks.txt \
    && useradd --uid 10001 --create-home sparring \
    && install -d -o sparring -g sparring /data/files /data/datasets /data/work
COPY pyproject.toml README.md alembic.ini ./
COPY core core
COPY store store
COPY sparring sparring
COPY migrations migrations
COPY presets presets
RUN pip install --no-deps --no-build-isolation --editable .
ENV SPARRING_FILES=/data/files SPARRING_DATA=/data/datasets SPARRING_WORK=/data/work SPARRING_LOG_FORMAT=json
USER 10001

FROM base AS api
COPY api api
# the only folder that can be written to is /tmp
ENV MPLCONFIGDIR=/tmp/matplotlib
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=6 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/api/v1/readyz', timeout=4)"]
CMD ["uvicorn", "api.app:app", "--http", "api.receiving:Receiving", "--host", "0.0.0.0", "--port", "8000", "--proxy-headers", "--no-access-log", \
     "--log-level", "warning", "--timeout-graceful-shutdown", "5"]

FROM base AS worker
COPY worker worker
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["python", "-m", "worker.alive"]
STOPSIGNAL SIGTERM
CMD ["celery", "--quiet", "-A", "worker.app", "worker", "--loglevel", "info", "--without-mingle", "--without-gossip"]

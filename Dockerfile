# A tag moves and a digest does not. To pin it: `docker buildx imagetools inspect python:3.13-slim` prints the digest,
# and `--build-arg PYTHON_IMAGE=python:3.13-slim@sha256:...` builds on it.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
COPY . .
RUN python -m venv /opt/build && python -m venv /opt/reportsim \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes --requirement requirements/build.txt \
    && /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/reportsim/bin/pip install --no-cache-dir --require-hashes --requirement requirements/image.txt \
    && /opt/reportsim/bin/pip install --no-cache-dir --no-deps dist/*.whl

# The embedded PostgreSQL stays out of the image: set DATABASE_URL.
FROM ${PYTHON_IMAGE}
RUN useradd --system --uid 10001 reportsim \
    && install --directory --owner reportsim /var/lib/reportsim
COPY --from=build /opt/reportsim /opt/reportsim
ENV PATH=/opt/reportsim/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    REPORTSIM_HOST=0.0.0.0 \
    REPORTSIM_PORT=8080 \
    REPORTSIM_DATA_DIR=/var/lib/reportsim
USER 10001
WORKDIR /var/lib/reportsim
VOLUME /var/lib/reportsim
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-c", "\
import http.client, os, sys; \
service = http.client.HTTPConnection('127.0.0.1', int(os.environ['REPORTSIM_PORT']), timeout=4); \
service.request('GET', '/healthz'); \
sys.exit(service.getresponse().status != 200)"]
ENTRYPOINT ["reportsim"]
CMD ["serve"]

FROM python:3.13-slim AS build
WORKDIR /build
COPY . .
RUN python -m venv /opt/reportsim \
    && python -m pip wheel --no-cache-dir --no-deps --wheel-dir dist . \
    && /opt/reportsim/bin/pip install --no-cache-dir --constraint constraints.txt "$(echo dist/*.whl)[speed]"

# The embedded PostgreSQL stays out of the image: set DATABASE_URL.
FROM python:3.13-slim
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

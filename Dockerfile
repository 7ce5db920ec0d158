# A voice over HTTP on a CPU: docker build -t diffwave . && docker run --rm -p 8000:8000 diffwave
# Another voice: docker run -v /path/to/voice:/voice:ro ... diffwave --host 0.0.0.0 --checkpoint /voice
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY diffwave diffwave
COPY pretrained pretrained
# PyTorch's index beside PyPI: pip then takes the build without CUDA, a fifth of the size.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
        '.[serve]'

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin diffwave
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["diffwave", "serve"]
CMD ["--host", "0.0.0.0", "--port", "8000"]

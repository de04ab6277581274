#!/usr/bin/env bash
# Build, check, test and pack @modelfaucet/react, and use what was packed in a project of its own; part of `make packages`.
# packages/sdk-js/build.sh has installed and built what it stands on.
set -euo pipefail
cd "$(dirname "$0")"
. ../node.sh
npm run --silent build
node --test --test-reporter=dot test/*.test.mjs
packed=$(npm pack --silent --pack-destination "${DIST:-$PWD/..}")
./test/installed.sh "${DIST:-$PWD/..}"/modelfaucet-sdk-*.tgz "${DIST:-$PWD/..}/$packed"

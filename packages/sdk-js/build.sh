#!/usr/bin/env bash
# Build, check, test and pack @modelfaucet/sdk, and use what was packed in a project of its own; part of `make packages`.
set -euo pipefail
cd "$(dirname "$0")"
. ../node.sh
(cd .. && npm ci --silent)
node --test --test-reporter=dot test/committed.test.mjs
npm run --silent dist
npm run --silent check
node --test --test-reporter=dot test/*.test.mjs
packed=$(npm pack --silent --pack-destination "${DIST:-$PWD/..}")
./test/installed.sh "${DIST:-$PWD/..}/$packed"

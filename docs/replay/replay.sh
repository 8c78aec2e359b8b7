#!/bin/sh
# Real prices through the whole system: choose pairs and calibrate on two weeks, trade what follows, account for it.
# sh docs/replay/replay.sh [DAYS] [SPEED]      from the project's root; DAYS 1, SPEED 120 (market seconds per second)
# DATA names the one-minute klines (symbol, ts, open, high, low, close, volume), START where their past ends,
# PROJECT the folder to work in (emptied first), TANDEM the command. Exit code 0: the books agree with the exchange.
set -eu
days=${1:-1} speed=${2:-120}
: "${DATA:=../shared/data/binance_um_2025_1m_typhonun/klines_1m.parquet}" "${START:=2025-05-18T16:00Z}"
: "${PROJECT:=var/replay}" "${TANDEM:=$PWD/.venv/bin/tandem}"
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$PWD/.venv/bin/python}
test -f "$DATA" || { echo "replay: $DATA: no such file; set DATA to a Parquet file of one-minute klines" >&2; exit 2; }
DATA=$(cd "$(dirname "$DATA")" && pwd)/$(basename "$DATA")
mkdir -p "$PROJECT" && rm -rf "$PROJECT/var" && cd "$PROJECT"
step=$here/replay_step.py
exchange= runner=
stop_all() {
    for process in $runner $exchange; do kill "$process" 2>/dev/null && wait "$process" || :; done
}
trap stop_all EXIT
trap 'exit 1' INT TERM

# exchange_at TIME SPEED: the paper exchange, whose past ends at TIME, at a port of its own.
exchange_at() {
    : >exchange.log  # Here and now: the address below must not be read from the last one's.
    $TANDEM exchange --port 0 --token-file exchange.token --market replay --data "$DATA?start=$1" --speed "$2" >>exchange.log 2>&1 &
    exchange=$!
    while ! url=$(sed -n 's/^exchange ready: \([^ ]*\) .*/\1/p' exchange.log) || test -z "$url"; do
        kill -0 "$exchange" 2>/dev/null || { cat exchange.log >&2; exchange=; exit 1; }
        sleep 0.2
    done
    export TANDEM_DATA__REST_URL="$url" TANDEM_DATA__STREAM_URL="ws${url#http}" TANDEM_CONTROL__PORT=0
}
exchange_off() { kill "$exchange"; wait "$exchange"; exchange=; }

"$python" "$step" config "$speed" "$days" >config.json

echo "== 1. pairs and hedge ratios from the two weeks before $START; the market stands still meanwhile"
exchange_at "$START" 0.001
if test -n "${PAIRS:-}"; then cp "$PAIRS" pairs_config.json; else
    $TANDEM scan --window-days 14 --timeframe 1h --holdout-share 0 --top 12 --output scan.csv 2>scan.log
    "$python" "$step" choose scan.csv >pairs_config.json
fi
$TANDEM recalibrate --window-days 14 --timeframe 1h 2>recalibrate.log
exchange_off

echo "== 2. $days day(s) from $START at $speed market seconds per second; log: $PROJECT/run.log"
exchange_at "$START" "$speed"
$TANDEM run >run.log 2>&1 &
runner=$!
"$python" "$step" wait "$url" exchange.token "$START" "$days" "$runner" run.log
kill "$runner"
wait "$runner"
runner=

echo "== 3. what the ledger says"
for name in results exits denials pairs; do
    $TANDEM query "$("$python" "$step" sql $name)"
done

echo "== 4. the ledger against the exchange"
agrees=0
$TANDEM reconcile 2>reconcile.log || agrees=$?
exchange_off

echo "== 5. the same pairs, period and decide function over stored bars"
exchange_at "$("$python" "$step" end "$START" "$days")" 0.001
$TANDEM backtest --days "$("$python" "$step" backtest-days "$days")" 2>backtest.log
exit $agrees

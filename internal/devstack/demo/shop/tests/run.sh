#!/usr/bin/env bash
# run.sh: the tests of cart.sh. Prints a line for each test and exits with 1
# if any of them failed.
set -uo pipefail
cd "$(dirname "$0")/.."

passed=0
failed=0

# check NAME EXPECTED ACTUAL
check() {
  if [ "$2" = "$3" ]; then
    passed=$((passed + 1))
    printf 'ok      %s\n' "$1"
  else
    failed=$((failed + 1))
    printf 'not ok  %s: expected "%s", got "%s"\n' "$1" "$2" "$3"
  fi
}

# sum NAME CART prints the amount in the receipt's line NAME.
sum() {
  printf '%b' "$2" | bash cart.sh | sed -n "s/^$1 *//p"
}

# complaint CART prints what cart.sh says against a cart.
complaint() {
  printf '%b' "$1" | bash cart.sh 2>&1 >/dev/null
}

check 'one article'                    12.50 "$(sum Goods 'mug,1250,1\n')"
check 'several articles'               40.50 "$(sum Goods 'mug,1250,2\ntea,775,2\n')"
check 'comments and empty lines'       12.50 "$(sum Goods '# cart\n\nmug,1250,1\n')"
check 'last line without its newline'  12.50 "$(sum Goods 'mug,1250,1')"
check 'nine pieces: no discount'       9.00  "$(sum Goods 'pen,100,9\n')"
check 'ten pieces: bulk discount'      9.00  "$(sum Goods 'pen,100,10\n')"
check 'twenty pieces: bulk discount'   18.00 "$(sum Goods 'pen,100,20\n')"
check 'discount is for one article'    12.00 "$(sum Goods 'pen,100,6\ncap,100,6\n')"
check 'shipping below 50.00'           4.90  "$(sum Shipping 'bag,4999,1\n')"
check 'free shipping from 50.00'       0.00  "$(sum Shipping 'bag,5000,1\n')"
check 'total is goods and shipping'    17.40 "$(sum Total 'mug,1250,1\n')"
check 'empty cart costs nothing'       0.00  "$(sum Total '')"
check 'a price must be a number'       "cart: line 1: price is not a number: 'cheap'" "$(complaint 'mug,cheap,1\n')"

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]

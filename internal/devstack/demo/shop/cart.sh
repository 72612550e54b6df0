#!/usr/bin/env bash
# cart.sh: totals a shopping cart and prints the receipt.
#
#   bash cart.sh cart.csv        (or: bash cart.sh < cart.csv)
#
# A cart is a CSV file, one line for each article: sku,price_cents,quantity.
# Empty lines and lines that begin with # are skipped. Prices are cents.
set -euo pipefail

readonly BULK_QUANTITY=10        # this many pieces of one article earn a discount
readonly BULK_PERCENT=10         # of that article's price
readonly FREE_SHIPPING_FROM=5000 # goods of this value ship free
readonly SHIPPING=490

die() {
  printf 'cart: %s\n' "$1" >&2
  exit 1
}

# money CENTS prints an amount: 1234 becomes 12.34.
money() {
  printf '%d.%02d' $(($1 / 100)) $(($1 % 100))
}

# line_total PRICE QUANTITY prints what an article costs, in cents.
line_total() {
  local total=$(($1 * $2))
  if [ "$2" -gt "$BULK_QUANTITY" ]; then
    total=$((total - total * BULK_PERCENT / 100))
  fi
  printf '%d' "$total"
}

# shipping GOODS prints what shipping costs for goods of that value.
shipping() {
  if [ "$1" -eq 0 ] || [ "$1" -ge "$FREE_SHIPPING_FROM" ]; then
    printf '0'
  else
    printf '%d' "$SHIPPING"
  fi
}

# number TEXT WHAT prints a whole number without leading zeros, or fails.
number() {
  [[ $1 =~ ^[0-9]{1,9}$ ]] || die "line $line: $2 is not a number: '$1'"
  printf '%d' "$((10#$1))"
}

# receipt reads a cart and prints one line for each article, then the sums.
receipt() {
  local line=0 goods=0 sku price quantity rest total ship
  while IFS=, read -r sku price quantity rest || [ -n "$sku" ]; do
    line=$((line + 1))
    case $sku in '' | '#'*) continue ;; esac
    [ -z "$rest" ] || die "line $line: more than three fields"
    price=$(number "$price" price)
    quantity=$(number "$quantity" quantity)
    total=$(line_total "$price" "$quantity")
    goods=$((goods + total))
    printf '%-16s %5d x %9s %12s\n' "$sku" "$quantity" "$(money "$price")" "$(money "$total")"
  done
  ship=$(shipping "$goods")
  printf '%-34s %12s\n' Goods "$(money "$goods")" Shipping "$(money "$ship")" Total "$(money $((goods + ship)))"
}

if [ $# -gt 0 ]; then
  [ -r "$1" ] || die "cannot read $1"
  receipt <"$1"
else
  receipt
fi

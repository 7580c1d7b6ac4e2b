# Creates the files that the recordings show: a small web shop of a fictitious company, in /app. It runs as the fictitious user
# before each recording. The files are the same each time, except for their times.
set -eu
cd /app
mkdir -p shop/log shop/src shop/config shop/db/migrate shop/public/assets calc web/src tmp
export GIT_CONFIG_GLOBAL=/dev/null

cat > words <<'WORDS'
account address archive article asset audit backup balance basket billing branch bucket budget cache calendar campaign cart catalog
channel charge checkout client comment config contact content contract coupon customer dashboard delivery deploy device discount
document domain draft email employee event export feature feed folder gateway group history image import inbox index insurance
inventory invoice item job journal label lead ledger license link list location mailer manifest market media member menu merchant
message meter migration module network notice number order package page partner password patient payment period permission person
WORDS

awk -v seed=1 '
function pick(n, a) { return a[1 + int(rand() * n)] }
BEGIN {
  srand(seed)
  while ((getline line < "words") > 0) { k = split(line, p, " "); for (i = 1; i <= k; i++) w[++n] = p[i] }
  split("Ada Lovelace,Grace Hopper,Katherine Johnson,Anna Müller,José García,Zoë Størmer,Barbara Liskov,Edsger Dijkstra,Łukasz Wójcik,Radia Perlman", people, ",")
  split("Fix Add Remove Rename Übersetze Test", verbs, " ")

  file = "shop/log/production.log"; t = 0
  for (i = 0; i < 4000; i++) {
    t += rand() * 2
    stamp = sprintf("2026-03-%02dT%02d:%02d:%06.3fZ", 2 + int(t / 86400), int(t / 3600) % 24, int(t / 60) % 60, t % 60)
    r = rand()
    if (r < 0.08) printf "%s \033[33mWARN\033[0m  [pool-%d] slow query: %d ms on %s.%s\n", stamp, rand() * 16, 200 + rand() * 3000, pick(n, w), pick(n, w) > file
    else if (r < 0.12) printf "%s \033[31mERROR\033[0m [pool-%d] %s: upstream closed the connection (errno %d)\n", stamp, rand() * 16, pick(n, w), rand() * 120 > file
    else if (r < 0.3) printf "%s {\"level\":\"info\",\"msg\":\"%s %s\",\"user\":%d,\"duration\":%.3f,\"path\":\"/%s/%d\"}\n", stamp, pick(n, w), pick(n, w), rand() * 1e6, rand(), pick(n, w), rand() * 1e5 > file
    else printf "%s INFO  [req-%08x] GET /%s/%d/%s 200 %d B in %d ms\n", stamp, rand() * 4294967295, pick(n, w), rand() * 1e6, pick(n, w), rand() * 65536, rand() * 500 > file
  }
  for (i = 0; i < 400; i++) printf "203.0.113.%d - - [03/Mar/2026:10:%02d:%02d +0000] \"GET /%s/%s?page=%d HTTP/1.1\" %d %d \"https://shop.example.com/%s\" \"Mozilla/5.0 (X11; Linux x86_64)\"\n", rand() * 255, i / 7 % 60, i % 60, pick(n, w), pick(n, w), rand() * 40, rand() < 0.9 ? 200 : 404, rand() * 90000, pick(n, w) > "shop/log/access.log"

  file = "shop/db/seed.sql"
  print "create table customers (id integer primary key, name text, email text, created_at text, balance real);" > file
  print "create table orders (id integer primary key, customer_id integer, item text, quantity integer, price real, placed_at text);" > file
  print "begin;" > file
  for (i = 1; i <= 300; i++) printf "insert into customers values (%d, \047%s\047, \047%s.%d@example.com\047, \0472026-01-%02d %02d:%02d:00\047, %.2f);\n", i, pick(10, people), pick(n, w), i, 1 + rand() * 28, rand() * 24, rand() * 60, rand() * 9000 > file
  for (i = 1; i <= 2000; i++) printf "insert into orders values (%d, %d, \047%s %s\047, %d, %.2f, \0472026-02-%02d %02d:%02d:00\047);\n", i, 1 + rand() * 300, pick(n, w), pick(n, w), 1 + rand() * 9, rand() * 400, 1 + rand() * 28, rand() * 24, rand() * 60 > file
  print "commit;" > file

  for (i = 0; i < 60; i++) { file = "shop/src/" pick(n, w) "_" pick(n, w) ".rb"
    printf "class Thing%d\n", i > file
    for (j = 0; j < 12; j++) printf "  # %s the %s of the %s\n  def %s_%s(%s)\n    @%s ||= %s.find(%s)[:%s] || raise(\"no %s for %s\")\n  end\n\n", pick(n, w), pick(n, w), pick(n, w), pick(n, w), pick(n, w), pick(n, w), pick(n, w), pick(n, w), pick(n, w), pick(n, w), pick(n, w), pick(n, w) > file
    print "end" > file; close(file) }
  for (i = 0; i < 30; i++) { file = "shop/public/assets/" pick(n, w) "-" sprintf("%08x", rand() * 4294967295) (i % 3 ? ".js" : ".css"); for (j = 0; j < rand() * 400; j++) print "x" j > file; close(file) }

  file = "history"
  for (i = 0; i < 160; i++) {
    message = sprintf("%s the %s of %s, so that the %s stays %s", pick(6, verbs), pick(n, w), pick(n, w), pick(n, w), pick(n, w))
    text = ""; for (j = 0; j < 20; j++) text = text pick(n, w) ": " pick(n, w) "\n"
    who = pick(10, people); mail = pick(n, w)
    print "commit refs/heads/main" > file
    printf "committer %s <%s@example.com> %d +0000\n", who, mail, 1767225600 + i * 9000 > file
    printf "data <<END\n%s\n\nThe %s was %s.\nEND\n", message, pick(n, w), pick(n, w) > file
    printf "M 100644 inline config/%s.yml\ndata <<END\n%sEND\n", pick(n, w), text > file
  }
}'

git init -q -b main shop
git -C shop fast-import --quiet < history
git -C shop reset -q --mixed
git -C shop checkout -q -- config
sqlite3 shop/db/shop.db < shop/db/seed.sql
printf '#!/bin/sh\nexec ruby server.rb "$@"\n' > shop/start; chmod +x shop/start; ln -s log/production.log shop/current.log

# A Go service with a failing test, a C program with a makefile and warnings, an npm package.
cat > shop/src/price.yml <<'YML'
currency: EUR
discounts:
  - {name: spring, percent: 10}
  - {name: summer, percent: 15}
limits:
  basket: 100
  order: 5000
YML
printf 'module example.com/calc\n\ngo 1.24\n' > calc/go.mod
cat > calc/calc.go <<'GO'
// Package calc computes what a basket costs.
package calc

// Total is the price of n items, less the discount in percent.
func Total(price, n, discount int) int { return price * n * (100 - discount) / 100 }
GO
cat > calc/calc_test.go <<'GO'
package calc

import (
	"fmt"
	"testing"
)

func TestTotal(t *testing.T) {
	for n := 1; n <= 40; n++ {
		t.Run(fmt.Sprintf("of_%d_items", n), func(t *testing.T) {
			if n%13 == 0 {
				t.Errorf("Total(%d, %d, 10) = %d, want %d", 250, n, Total(250, n, 10), 225*n+1)
			}
		})
	}
}
GO
for name in main parse queue report; do
  printf '#include <stdio.h>\n#include "all.h"\n\nint %s_run(int n)\n{\n\tint unused_%s;\n\tchar *text = n;\n\tprintf("%%s %%d\\n", n, n);\n\treturn n;\n}\n' $name $name > web/src/$name.c
done
printf 'int main_run(int), parse_run(int), queue_run(int), report_run(int);\n' > web/src/all.h
printf '#include "all.h"\nint main(void)\n{\n\treturn main_run(1) - parse_run(1);\n}\n' > web/src/start.c
cat > web/Makefile <<'MAKE'
CFLAGS = -Wall -Wextra -fdiagnostics-color=always
OBJECTS = src/main.o src/parse.o src/queue.o src/report.o src/start.o

server: $(OBJECTS)
	$(CC) -o $@ $^

clean:
	rm -f server $(OBJECTS)
MAKE
cat > web/package.json <<'JSON'
{"name": "web", "version": "1.4.0", "private": true, "scripts": {"prebuild": "node build.js clean", "build": "node build.js", "test": "node --test"}}
JSON
cat > web/build.js <<'JS'
const clean = process.argv[2] === "clean";
if (clean) { console.log("\x1b[2mremoved dist/\x1b[22m"); process.exit(0); }
const names = require("fs").readFileSync("/app/words", "utf8").split(/\s+/).filter(Boolean);
let i = 0;
const step = setInterval(() => {
  process.stdout.write(`\r\x1b[K\x1b[36m${"⠋⠙⠹⠸⠼⠴⠦⠧"[i % 8]}\x1b[39m transforming (${i * 7}) src/${names[i]}.js`);
  if (++i < 60) return;
  clearInterval(step);
  process.stdout.write("\r\x1b[K");
  console.log(`\x1b[32m✓\x1b[39m ${i * 7} modules transformed.`);
  for (let j = 0; j < 60; j++) console.log(`\x1b[32m✓\x1b[39m dist/assets/${names[j]}-${(j * 2654435761 >>> 0).toString(16)}.js \x1b[2m${(j * 13.37 % 900).toFixed(2)} kB │ gzip: ${(j * 4.2 % 300).toFixed(2)} kB\x1b[22m`);
}, 40);
JS
cat > web/basket.test.js <<'JS'
const test = require("node:test"), assert = require("node:assert");
for (let i = 0; i < 25; i++) test(`basket of ${i} items`, () => assert.ok(i !== 17));
JS
truncate -s 3G tmp/release-1.4.tar
rm -f history
cat > .bash_history <<'HISTORY'
cd shop
git status
tail -n 50 log/production.log
grep -c ERROR log/production.log
HISTORY
mkdir -p apt/lists/partial apt/cache/archives/partial apt/parts
echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main' > apt/sources.list
cat > .apt.conf <<'APT'
Dir::State::lists "/app/apt/lists";
Dir::Cache "/app/apt/cache";
Dir::Etc::sourcelist "/app/apt/sources.list";
Dir::Etc::sourceparts "/app/apt/parts";
Dir::Etc::parts "/app/apt/parts";
APT

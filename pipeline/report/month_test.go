package report

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/audit"
	"github.com/ttydrain/ttydrain/pipeline/identity"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/pipeline/replay/replaytest"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
)

// testKey returns a signing key that is always the same, and the key set with it.
func testKey(t testing.TB) (*enrich.Key, *identity.KeySet) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	ring, err := enrich.LoadKeyRing(path, "", false)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := ring.JWKS(0, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := identity.ParseKeySet(jwks)
	if err != nil {
		t.Fatal(err)
	}
	return ring.Active, &keys
}

// november is the beginning of the month that the sessions of tests are in.
var november = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// monthUsers are the users of the sessions of tests.
var monthUsers = []schema.User{
	{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"}, {ID: "u-2", Name: "Grace Hopper", Email: "grace@example.com"},
	{ID: "u-3", Name: "Jürgen Müller-Lüdenscheidt", Email: "juergen.mueller-luedenscheidt@subsidiary.example.com"}, {ID: "u-4", Name: "=HYPERLINK(\"http://evil.example.com\")", Email: "mal@example.com"},
	{ID: "u-5", Name: "Eve <script>alert(1)</script>\u202egnp.exe", Email: "eve@example.com"},
}

// monthCommands are the commands of the sessions of tests.
var monthCommands = []string{
	"", "bundle exec rails console", "pg_dump --schema-only \"$DATABASE_URL\" | gzip > /tmp/schema.sql.gz", "+1+1", "printf '\x1b[31mred\x07\n\x1b[m'",
	"bash -c 'for i in $(seq 1 100); do curl -sS -o /dev/null -w \"%{http_code} %{time_total}\\n\" https://api.example.com/v1/health?verbose=true; sleep 1; done'",
}

// monthOrigins are the origins of the sessions of tests.
var monthOrigins = []schema.Origin{
	{Address: "203.0.113.7", Client: "SSH-2.0-OpenSSH_9.6", Method: schema.MethodKey, Key: "SHA256:RFwkx3p6bW3oVqLyYtY8v0gkSCPdWuJkAbCdEfGhIjK"},
	{Address: "2001:db8:85a3::8a2e:370:7334", Client: "SSH-2.0-Go", Method: schema.MethodCertificate, Key: "SHA256:9pQwErTyUiOpAsDfGhJkLzXcVbNm1234567890abcde",
		Serial: "18446744073709551615", CA: "SHA256:zYxWvUtSrQpOnMlKjIhGfEdCbA0987654321zyxwvuts"},
	{Address: "198.51.100.23", Client: "=cmd|' /C calc'!A0", Method: schema.MethodKeyToken},
	{},
}

// monthSession returns the records of the session with a number from 0, as a file drain has them.
func monthSession(t testing.TB, key *enrich.Key, n int) (*schema.Operation, [][]byte) {
	t.Helper()
	began := november.Add(time.Duration(n) * 43 * time.Minute)
	user := monthUsers[n%len(monthUsers)]
	document, err := key.Mint("https://auth.example.com", user, began)
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprint(5000 + n)
	op := &schema.Operation{ID: id, Stack: []string{"default", "payments-production"}[n%2], App: []string{"web", "billing-worker", "ledger"}[n%3], AppID: "17", Service: "web-cmd",
		Layer: "app", Host: "gateway-1", Container: "session-" + id, User: user, UserDocument: document, Command: monthCommands[n%len(monthCommands)],
		Interactive: n%len(monthCommands) == 0, Origin: monthOrigins[n%len(monthOrigins)], Started: began, Expires: began.Add(7 * 24 * time.Hour)}
	transcript, err := enrich.New(op, key, began)
	if err != nil {
		t.Fatal(err)
	}
	start, err := schema.StartFrame(began, op)
	if err != nil {
		t.Fatal(err)
	}
	frames := []schema.Frame{start}
	at := began
	for i := range 3 {
		at = at.Add(time.Duration(1+n%37) * 7 * time.Second)
		frames = append(frames, schema.Frame{Kind: schema.FrameStdout, Time: at.UnixNano(), Payload: fmt.Appendf(nil, "line %d of %s\r\n", i, id)})
	}
	end := schema.Detail{Reason: "exit", ExitStatus: new(int)}
	switch {
	case n%11 == 3:
		*end.ExitStatus = 130
	case n%23 == 7:
		end = schema.Detail{Reason: "killed", EndedBy: "Grace Hopper", EndedBecause: "the incident of the payment queue"}
	case n%29 == 5:
		end = schema.Detail{Reason: "disconnect"}
	}
	last, err := schema.DetailFrame(schema.FrameEnd, at.Add(time.Second), &end)
	if err != nil {
		t.Fatal(err)
	}
	if err := transcript.Add(&schema.Chunk{Frames: append(frames, last)}, at); err != nil {
		t.Fatal(err)
	}
	var d schema.Decoder
	var entries []sinks.Entry
	for transcript.Ready() {
		taken, err := transcript.Take()
		if err != nil {
			t.Fatal(err)
		}
		segment, err := d.Segment(taken.Data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range segment.Records {
			entries = append(entries, sinks.Entry{Operation: op, Record: &segment.Records[i]})
		}
	}
	if n%40 == 6 { // the drain did not get a record
		var missed schema.PendingGaps
		missed.Add(schema.GapOf(entries[2].Record))
		entries = append(slices.Delete(entries, 2, 3), replaytest.GapEntry(t, key.Sign, op, missed.Gaps[0]))
	}
	return op, fileLines(t, entries)
}

// fileLines returns the lines of a file drain.
func fileLines(t testing.TB, entries []sinks.Entry) [][]byte {
	t.Helper()
	for _, form := range replaytest.Forms() {
		if form.Name == "file" {
			return form.Write(t, entries)
		}
	}
	t.Fatal("there is no form of files")
	return nil
}

// month writes a copy with a number of sessions, of which some are damaged, and returns its report.
// One session of the copy still runs.
func month(t testing.TB, n int) *Report {
	t.Helper()
	key, keys := testKey(t)
	var data bytes.Buffer
	running := ""
	for i := range n {
		op, lines := monthSession(t, key, i)
		switch {
		case i == n-1:
			running = op.ID
			lines = lines[:len(lines)-1]
		case i%50 == 4: // a record is missing
			lines = slices.Delete(lines, 1, 2)
		case i%70 == 2: // another user
			for j := range lines {
				lines[j] = bytes.ReplaceAll(lines[j], []byte("ada@example.com"), []byte("bob@example.com"))
				lines[j] = bytes.ReplaceAll(lines[j], []byte("juergen.mueller"), []byte("juergen.maier"))
			}
		case i%97 == 8: // no end
			lines = lines[:len(lines)-1]
		}
		data.Write(append(bytes.Join(lines, []byte("\n")), '\n'))
	}
	var collector Collector
	var inputs []Input
	files := &replay.Files{Names: []string{"-"}, Stdin: &data, Sum: func(_ string, size int64, sum [sha256.Size]byte) {
		inputs = append(inputs, Input{"archive/siem-2026-11.ndjson", size, fmt.Sprintf("%x", sum)})
	}}
	checker := &audit.Checker{Keys: keys, Runs: func(id string) bool { return id == running }, Checked: collector.Add}
	result, err := checker.Audit(t.Context(), files, replay.Selection{})
	if err != nil {
		t.Fatal(err)
	}
	r := collector.Report(result, Made{At: november.AddDate(0, 1, 0).Add(9 * time.Hour), TimeZone: "UTC", Program: "v1.2.3", Commit: "0123456789abcdef0123456789abcdef01234567",
		Signed: true, Key: key.ID()})
	r.Parameters = Parameters{Since: november, Until: november.AddDate(0, 1, 0)}
	r.Inputs = inputs
	r.Server = &Server{Address: "https://gateway.example.com:9464", Drains: []Drain{
		{Name: "siem", State: "delivering", Delivered: 40_211}, {Name: "search", State: "failing", LagRecords: 812, LagSeconds: 90, Delivered: 39_399, DeadLetters: 3,
			LastError: "the request timed out: the drain did not answer within 30 s", LastErrorAt: november.AddDate(0, 0, 29)},
	}, Refusals: []Refusal{{"search", "mapper_parsing_exception: failed to parse field [timing]", 3, november.AddDate(0, 0, 3), november.AddDate(0, 0, 4)}}, Events: []Event{
		{Index: 17, Time: november.AddDate(0, 0, 2), Kind: "session.replay", Actor: "grace@example.com", Via: "console", From: "192.0.2.9", Outcome: "accepted",
			Details: map[string]string{"operation": "5003", "stack": "default"}},
		{Index: 18, Time: november.AddDate(0, 0, 3), Kind: "drain.pause", Actor: "=SUM(A1)\u202e", Via: "token", From: "unix socket", Outcome: "failed",
			Details: map[string]string{"drain": "search", "status": "404"}},
	}}
	return r
}

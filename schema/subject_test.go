package schema

import (
	"strings"
	"testing"
)

func TestToken(t *testing.T) {
	for s, want := range map[string]string{
		"":            "=",
		"=":           "=3D",
		"web":         "web",
		"Web-app_2":   "Web-app_2",
		"a.b":         "a=2Eb",
		"*":           "=2A",
		">":           "=3E",
		"a b":         "a=20b",
		"=2E":         "=3D2E",
		"\x00\n\xff":  "=00=0A=FF",
		"f\u00fcr":    "f=C3=BCr",
		"$JS":         "=24JS",
		"../../etc":   "=2E=2E=2F=2E=2E=2Fetc",
		"\U0001f600x": "=F0=9F=98=80x",
	} {
		if got := Token(s); got != want {
			t.Errorf("Token(%q) = %q, want %q", s, got, want)
		}
	}
}

// untoken is the inverse of Token: its existence shows that distinct strings have distinct tokens.
func untoken(t *testing.T, token string) string {
	if token == "=" {
		return ""
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '=' {
			b.WriteByte(token[i])
			continue
		}
		if i+2 >= len(token) {
			t.Fatalf("cut short: %q", token)
		}
		high, low := strings.IndexByte(digits, token[i+1]), strings.IndexByte(digits, token[i+2])
		if high < 0 || low < 0 {
			t.Fatalf("not hexadecimal: %q", token)
		}
		b.WriteByte(byte(high<<4 | low))
		i += 2
	}
	return b.String()
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "=", "==", "=3D", "web", "a.b", "*", ">", " ", "\x00", "\xff", "\u00fc"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token := Token(s)
		if token == "" || strings.ContainsAny(token, ".*> \t\r\n\x00") {
			t.Errorf("Token(%q) = %q is not one token", s, token)
		}
		if got := untoken(t, token); got != s {
			t.Errorf("Token(%q) = %q, which is also that of %q", s, token, got)
		}
	})
}

func TestPartition(t *testing.T) {
	// Stable for ever: a position in a stream is stored for each partition.
	for _, test := range []struct {
		id   string
		n    int
		want int
	}{
		{"1", 1, 0}, {"4711", 1, 0}, {"", 4, 1}, {"1", 4, 0}, {"2", 4, 1}, {"3", 4, 2}, {"4711", 4, 2}, {"4711", 16, 2}, {"18446744073709551615", 8, 4},
	} {
		if got := Partition(test.id, test.n); got != test.want {
			t.Errorf("Partition(%q, %d) = %d, want %d", test.id, test.n, got, test.want)
		}
	}
	seen := make(map[int]int)
	for i := range 4096 {
		seen[Partition(strings.Repeat("0", i%7)+"12"+string(rune('0'+i%10))+string(rune('0'+i/10%10))+string(rune('0'+i/100%10)), 8)]++
	}
	if len(seen) != 8 {
		t.Errorf("operations are in %d of 8 partitions", len(seen))
	}
	for p := range seen {
		if p < 0 || p >= 8 {
			t.Errorf("partition %d of 8", p)
		}
	}
}

func TestSubjects(t *testing.T) {
	for _, test := range []struct {
		op        Operation
		tty, logs string
	}{
		{Operation{ID: "4711", Stack: "default", App: "web"}, "tty.2.default.web.4711", "logs.2.default.web.4711"},
		{Operation{ID: "1", Stack: "eu.west", App: "shop *>"}, "tty.0.eu=2Ewest.shop=20=2A=3E.1", "logs.0.eu=2Ewest.shop=20=2A=3E.1"},
		{Operation{ID: "2"}, "tty.1.=.=.2", "logs.1.=.=.2"},
		{Operation{ID: "3", Stack: "tty", App: "tty"}, "tty.2.tty.tty.3", "logs.2.tty.tty.3"},
	} {
		if got := SubjectTTY(&test.op, 4); got != test.tty {
			t.Errorf("SubjectTTY(%+v) = %s, want %s", test.op, got, test.tty)
		}
		if got := LogsOf(test.tty); got != test.logs {
			t.Errorf("LogsOf(%s) = %s, want %s", test.tty, got, test.logs)
		}
	}
}

func TestFilters(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{FilterTTY(-1), "tty.*.*.*.*"},
		{FilterTTY(0), "tty.0.*.*.*"},
		{FilterTTY(12), "tty.12.*.*.*"},
		{FilterLogs(-1, "", ""), "logs.*.*.*.*"},
		{FilterLogs(3, "", ""), "logs.3.*.*.*"},
		{FilterLogs(3, "default", ""), "logs.3.default.*.*"},
		{FilterLogs(-1, "", "web"), "logs.*.*.web.*"},
		{FilterLogs(-1, "eu.west", "*"), "logs.*.eu=2Ewest.=2A.*"},
	} {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
	// A filter matches exactly its subjects, token by token.
	op := &Operation{ID: "4711", Stack: "eu.west", App: "web"}
	for filter, want := range map[string]bool{
		FilterLogs(-1, "", ""):             true,
		FilterLogs(2, "eu.west", "web"):    true,
		FilterLogs(3, "eu.west", "web"):    false,
		FilterLogs(-1, "eu", ""):           false,
		FilterLogs(-1, "", "west"):         false,
		FilterTTY(2):                       false,
		FilterLogs(-1, "eu.west", "other"): false,
	} {
		if got := matches(filter, LogsOf(SubjectTTY(op, 4))); got != want {
			t.Errorf("%s matches %s: %t", filter, LogsOf(SubjectTTY(op, 4)), got)
		}
	}
}

// matches implements the rule of NATS for filters without ">".
func matches(filter, subject string) bool {
	f, s := strings.Split(filter, "."), strings.Split(subject, ".")
	if len(f) != len(s) {
		return false
	}
	for i := range f {
		if f[i] != "*" && f[i] != s[i] {
			return false
		}
	}
	return true
}

package receive

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestParseMessage(t *testing.T) {
	utc := func(s string) time.Time {
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, test := range []struct {
		in   string
		want Message
	}{
		// The examples of RFC 5424 §6.5.
		{"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed for lonvick on /dev/pts/8",
			Message{Priority: 34, Timestamp: utc("2003-10-11T22:14:15.003Z"), Host: "mymachine.example.com", App: "su", MsgID: "ID47",
				Text: "'su root' failed for lonvick on /dev/pts/8"}},
		{"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
			Message{Priority: 165, Timestamp: utc("2003-08-24T05:14:15.000003-07:00"), Host: "192.0.2.1", App: "myproc", ProcID: "8710",
				Text: "%% It's time to make the do-nuts."}},
		{`<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"] An application event log entry...`,
			Message{Priority: 165, Timestamp: utc("2003-10-11T22:14:15.003Z"), Host: "mymachine.example.com", App: "evntslog", MsgID: "ID47",
				Data: map[string]Element{"exampleSDID@32473": {"iut": {"3"}, "eventSource": {"Application"}, "eventID": {"1011"}}},
				Text: "An application event log entry..."}},
		{`<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"][examplePriority@32473 class="high"]`,
			Message{Priority: 165, Timestamp: utc("2003-10-11T22:14:15.003Z"), Host: "mymachine.example.com", App: "evntslog", MsgID: "ID47",
				Data: map[string]Element{"exampleSDID@32473": {"iut": {"3"}, "eventSource": {"Application"}, "eventID": {"1011"}}, "examplePriority@32473": {"class": {"high"}}}}},
		{"<0>1 - - - - - -", Message{}},
		{"<191>1 - - - - - - ", Message{Priority: 191}},
		{"<9>1 - - - - - -  two spaces", Message{Priority: 9, Text: " two spaces"}},
		{"<9>1 - h a p m - [not data]", Message{Priority: 9, Host: "h", App: "a", ProcID: "p", MsgID: "m", Text: "[not data]"}},
		{"<9>1 - - - - - - \xff\x00", Message{Priority: 9, Text: "\xff\x00"}},
		{`<9>1 - - - - - [a]`, Message{Priority: 9, Data: map[string]Element{"a": {}}}},
		{`<9>1 - - - - - [a b=""][c] x`, Message{Priority: 9, Data: map[string]Element{"a": {"b": {""}}, "c": {}}, Text: "x"}},
		{`<9>1 - - - - - [a ip="1" ip="2"]`, Message{Priority: 9, Data: map[string]Element{"a": {"ip": {"1", "2"}}}}},
		{`<9>1 - - - - - [a b="\"\\\]\n\a[="]`, Message{Priority: 9, Data: map[string]Element{"a": {"b": {`"\]\n\a[=`}}}}},
		{"<9>1 - - - - - [a b=\"\u00fc\U0001f600\"]", Message{Priority: 9, Data: map[string]Element{"a": {"b": {"\u00fc\U0001f600"}}}}},
		{"<9>1 2026-02-28T23:59:59.123456+14:00 - - - - -", Message{Priority: 9, Timestamp: utc("2026-02-28T23:59:59.123456+14:00")}},
		{"<9>1 2024-02-29T00:00:00-00:00 - - - - -", Message{Priority: 9, Timestamp: utc("2024-02-29T00:00:00Z")}},
		{"<9>1 - " + strings.Repeat("h", 255) + " " + strings.Repeat("a", 48) + " " + strings.Repeat("p", 128) + " " + strings.Repeat("m", 32) + " [" + strings.Repeat("i", 32) + " " + strings.Repeat("n", 32) + "=\"\"]",
			Message{Priority: 9, Host: strings.Repeat("h", 255), App: strings.Repeat("a", 48), ProcID: strings.Repeat("p", 128), MsgID: strings.Repeat("m", 32),
				Data: map[string]Element{strings.Repeat("i", 32): {strings.Repeat("n", 32): {""}}}}},
	} {
		got, err := ParseMessage([]byte(test.in))
		if err != nil {
			t.Errorf("%q: %v", test.in, err)
			continue
		}
		if !got.Timestamp.Equal(test.want.Timestamp) {
			t.Errorf("%q: at %v, want %v", test.in, got.Timestamp, test.want.Timestamp)
		}
		got.Timestamp = test.want.Timestamp
		if !reflect.DeepEqual(*got, test.want) {
			t.Errorf("%q:\ngot  %+v\nwant %+v", test.in, *got, test.want)
		}
	}
	m := Message{Priority: 165, Data: map[string]Element{"a": {"b": {"1", "2"}}}}
	if m.Facility() != 20 || m.Severity() != 5 || m.Data["a"].Get("b") != "1" || m.Data["a"].Get("c") != "" || m.Data["x"].Get("b") != "" {
		t.Errorf("facility %d, severity %d", m.Facility(), m.Severity())
	}
}

func TestParseMessageRefuses(t *testing.T) {
	const secret = "hunter2"
	for _, test := range []struct{ in, want string }{
		{"", `byte 0: PRI must begin with "<"`},
		{"34>1 - - - - - -", `byte 0: PRI must begin`},
		{"<>1 - - - - - -", "byte 1: PRI must be a number"},
		{"<192>1 - - - - - -", "PRI must be at most 191"},
		{"<1234>1 - - - - - -", `PRI must`},
		{"<013>1 - - - - - -", "PRI must have no leading zeros"},
		{"<00>1 - - - - - -", "PRI must have no leading zeros"},
		{"<-1>1 - - - - - -", "PRI must be a number"},
		{"<13 1 - - - - - -", `PRI must end with ">"`},
		{"<13>", "VERSION must be 1"},
		{"<13>2 - - - - - -", "VERSION must be 1"},
		{"<13>10 - - - - - -", "byte 5: a single space is required"},
		{"<13>Oct 11 22:14:15 host su: " + secret, "byte 4: VERSION must be 1"}, // RFC 3164
		{"<13>1", "a single space is required"},
		{"<13>1  - - - - - -", "TIMESTAMP must be visible ASCII"},
		{"<13>1 2026-03-01 - - - - -", "byte 6: TIMESTAMP must be as in"},
		{"<13>1 2026-03-01T09:30:00 - - - - -", "TIMESTAMP must be as in"},
		{"<13>1 2026-03-01t09:30:00Z - - - - -", "TIMESTAMP must be as in"},
		{"<13>1 2026-03-01T09:30:00z - - - - -", "TIMESTAMP must be as in"},
		{"<13>1 2026-03-01T09:30:60Z - - - - -", "TIMESTAMP must be as in"},
		{"<13>1 2026-02-29T09:30:00Z - - - - -", "TIMESTAMP must be as in"},
		{"<13>1 2026-03-01T24:00:00Z - - - - -", "TIMESTAMP must be as in"},
		{"<13>1 2026-03-01T9:30:00Z - - - - -", "TIMESTAMP must be as in"},
		{"<13>1 2026-03-01T09:30:00.Z - - - - -", "TIMESTAMP must be as in"},
		{"<13>1 2026-03-01T09:30:00,5Z - - - - -", "TIMESTAMP must be as in"},
		{"<13>1 2026-03-01T09:30:00.1234567Z - - - - -", "TIMESTAMP must be as in"},
		{"<13>1 2026-03-01T09:30:00+0100 - - - - -", "TIMESTAMP must be as in"},
		{"<13>1 2026-03-01T09:30:00+01:60 - - - - -", "TIMESTAMP must be as in"},
		{"<13>1 2026-03-01T09:30:00-24:00 - - - - -", "TIMESTAMP must be as in"},
		{"<13>1 2026-03-01T09:30:00+25:00 - - - - -", "TIMESTAMP must be as in"},
		{"<13>1 " + strings.Repeat("1", 33) + " - - - - -", "TIMESTAMP must have at most 32 bytes"},
		{"<13>1 - h\u00f6st - - - -", "byte 9: a single space is required"},
		{"<13>1 - \u00f6 - - - -", "HOSTNAME must be visible ASCII"},
		{"<13>1 - " + strings.Repeat("h", 256) + " - - - -", "HOSTNAME must have at most 255 bytes"},
		{"<13>1 - - " + strings.Repeat("a", 49) + " - - -", "APP-NAME must have at most 48 bytes"},
		{"<13>1 - - - " + strings.Repeat("p", 129) + " - -", "PROCID must have at most 128 bytes"},
		{"<13>1 - - - - " + strings.Repeat("m", 33) + " -", "MSGID must have at most 32 bytes"},
		{"<13>1 - - - - -", "a single space is required"},
		{"<13>1 - - - - - ", "STRUCTURED-DATA must begin"},
		{"<13>1 - - - - - " + secret, "STRUCTURED-DATA must begin"},
		{"<13>1 - - - - - -" + secret, "a single space is required"},
		{"<13>1 - - - - - -\n", "a single space is required"},
		{"<13>1 - - - - - []", "SD-ID must not be empty"},
		{"<13>1 - - - - - [", "SD-ID must not be empty"},
		{"<13>1 - - - - - [a", `SD-ELEMENT must end with "]"`},
		{"<13>1 - - - - - [a ]", "PARAM-NAME must not be empty"},
		{"<13>1 - - - - - [a  b=\"\"]", "PARAM-NAME must not be empty"},
		{"<13>1 - - - - - [a b]", "PARAM-NAME must be followed by =\""},
		{"<13>1 - - - - - [a b=c]", "PARAM-NAME must be followed by =\""},
		{"<13>1 - - - - - [a b=\"", "PARAM-VALUE must end with a quotation mark"},
		{"<13>1 - - - - - [a b=\"" + secret, "PARAM-VALUE must end with a quotation mark"},
		{"<13>1 - - - - - [a b=\"\\", "PARAM-VALUE must end with a quotation mark"},
		{"<13>1 - - - - - [a b=\"\\\"", "PARAM-VALUE must end with a quotation mark"},
		{"<13>1 - - - - - [a b=\"]\"]", "PARAM-VALUE must have a backslash before"},
		{"<13>1 - - - - - [a b=\"\xff\"]", "PARAM-VALUE must be UTF-8"},
		{"<13>1 - - - - - [a b=\"\"c=\"\"]", `SD-ELEMENT must end with "]"`},
		{"<13>1 - - - - - [a] [b]x\xff", ""}, // the second is text
		{"<13>1 - - - - - [a][a]", "SD-ID must be unique"},
		{"<13>1 - - - - - [a]x", "a single space is required"},
		{"<13>1 - - - - - [" + strings.Repeat("i", 33) + "]", "SD-ID must have at most 32 bytes"},
		{"<13>1 - - - - - [a " + strings.Repeat("n", 33) + "=\"\"]", "PARAM-NAME must have at most 32 bytes"},
		{"<13>1 - - - - - - \xef\xbb\xbf\xff", "MSG with a byte order mark must be UTF-8"},
	} {
		m, err := ParseMessage([]byte(test.in))
		switch {
		case test.want == "" && err == nil:
		case err == nil:
			t.Errorf("%q: taken for %+v", test.in, *m)
		case test.want == "" || !strings.Contains(err.Error(), test.want):
			t.Errorf("%q: %v, want %q in it", test.in, err, test.want)
		case strings.Contains(err.Error(), secret):
			t.Errorf("%q: the error quotes it: %v", test.in, err)
		}
	}
}

// format encodes a message in the strictest form of RFC 5424.
func format(m *Message) []byte {
	orNil := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	at := "-"
	if !m.Timestamp.IsZero() {
		at = m.Timestamp.Format("2006-01-02T15:04:05.000000Z07:00")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<%d>1 %s %s %s %s %s ", m.Priority, at, orNil(m.Host), orNil(m.App), orNil(m.ProcID), orNil(m.MsgID))
	for _, id := range slices.Sorted(maps.Keys(m.Data)) {
		b.WriteString("[" + id)
		for _, name := range slices.Sorted(maps.Keys(m.Data[id])) {
			for _, value := range m.Data[id][name] {
				fmt.Fprintf(&b, ` %s="%s"`, name, strings.NewReplacer(`"`, `\"`, `\`, `\\`, `]`, `\]`).Replace(value))
			}
		}
		b.WriteString("]")
	}
	if len(m.Data) == 0 {
		b.WriteString("-")
	}
	if m.Text != "" {
		b.WriteString(" ")
		if strings.HasPrefix(m.Text, "\xef\xbb\xbf") {
			b.WriteString("\xef\xbb\xbf")
		}
		b.WriteString(m.Text)
	}
	return []byte(b.String())
}

func FuzzParseMessage(f *testing.F) {
	for _, s := range []string{
		"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed",
		`<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - [a@1 b="3" c="\"\]\\\x"][d e="" e="f"] text`,
		"<0>1 - - - - - -", "<191>1 - - - - - [a]", "<13>1 - - - - - [a b=\"\\", "<13>1 9999-12-31T23:59:59.999999+23:59 - - - - -",
		"<13>1 0001-01-01T00:00:00Z - - - - -", "<13>", "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMessage(data)
		if err != nil {
			if m != nil {
				t.Fatal("a message and an error")
			}
			return
		}
		if m.Priority < 0 || m.Priority > 191 || len(m.Host) > maxHost || len(m.App) > maxApp || len(m.ProcID) > maxProcID || len(m.MsgID) > maxMsgID {
			t.Fatalf("out of range: %+v", *m)
		}
		for id, element := range m.Data {
			for name, values := range element {
				for _, value := range values {
					if !utf8.ValidString(id + name + value) {
						t.Fatalf("not UTF-8: %q %q %q", id, name, value)
					}
				}
			}
		}
		if strings.HasPrefix(m.Text, "\xef\xbb\xbf") && !utf8.ValidString(m.Text) {
			t.Fatalf("not UTF-8: %q", m.Text)
		}
		again, err := ParseMessage(format(m))
		if err != nil {
			t.Fatalf("%v: %q, formatted from %q", err, format(m), data)
		}
		if !again.Timestamp.Equal(m.Timestamp) {
			t.Fatalf("at %v, was %v", again.Timestamp, m.Timestamp)
		}
		again.Timestamp = m.Timestamp
		if !reflect.DeepEqual(again, m) {
			t.Fatalf("parsed again:\n%+v\nwas\n%+v", again, m)
		}
		RecordOf(m)
	})
}

// TestRecordOfPart checks that the record of a message part has the text without the part number.
func TestRecordOfPart(t *testing.T) {
	for _, c := range []struct{ part, message, want string }{
		{`part="2/5" part_offset="7"`, "tok operation_id=42 part=2/5 part=2/5 x", "part=2/5 x"},
		{`part="2/5" part_offset="7"`, "operation_id=42 part=2/5 ", ""},
		{`part="2/5" part_offset="7"`, "operation_id=42 part=2/5", ""},
		{`part="2/5" part_offset="7"`, "operation_id=42 part=2/55 x", "part=2/55 x"},
		{`sequence="1"`, "operation_id=42 part=2/5 x", "part=2/5 x"},
	} {
		m, err := ParseMessage([]byte(`<134>1 - - web 42 output [session@32473 operation_id="42" ` + c.part + "] " + c.message))
		if err != nil {
			t.Fatal(err)
		}
		if r := RecordOf(m); r.Text != c.want || r.Part != m.Data[SessionID].Get("part") {
			t.Errorf("%s: %q, want %q", c.message, r.Text, c.want)
		}
	}
}

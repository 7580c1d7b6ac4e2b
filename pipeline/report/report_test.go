package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/ttydrain/ttydrain/pipeline/audit"
	"github.com/ttydrain/ttydrain/schema"
)

var (
	update = flag.Bool("update", false, "write the golden files of reports anew")
	folder = flag.String("month", "", "write the reports of a month with 1000 sessions to this folder, to look at")
)

// write returns a report in a format.
func write(t testing.TB, format string, r *Report) []byte {
	t.Helper()
	key, _ := testKey(t)
	var b bytes.Buffer
	if err := Write(&b, format, r, key.Sign); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestGolden compares small reports with golden files.
func TestGolden(t *testing.T) {
	if *folder != "" {
		r := month(t, 1000)
		for _, format := range []string{HTML, CSV, JSON} {
			if err := os.WriteFile(filepath.Join(*folder, "month."+format), write(t, format, r), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	r := month(t, 10)
	for _, format := range []string{HTML, CSV, JSON} {
		got := write(t, format, r)
		path := filepath.Join("testdata", "report."+format)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs: go test ./pipeline/report -run Golden -update writes it anew", path)
		}
	}
}

// TestVerdicts checks that the sessions of a report have the verdicts of what was done to them.
func TestVerdicts(t *testing.T) {
	want := map[string]audit.Verdict{"5002": audit.Damaged, "5004": audit.Damaged, "5006": audit.Incomplete, "5008": audit.Damaged, "5009": audit.Incomplete}
	r := month(t, 10)
	if len(r.Sessions) != 10 || r.Verdict != audit.Damaged || r.Totals.Intact != 5 || len(r.Keys) != 1 || r.Keys[0].Sessions != 10 {
		t.Errorf("%d sessions, %s, %+v, keys %+v", len(r.Sessions), r.Verdict, r.Totals, r.Keys)
	}
	for i := range r.Sessions {
		s := &r.Sessions[i]
		if expected, ok := want[s.Operation]; !ok && s.Verdict != audit.Intact || ok && s.Verdict != expected {
			t.Errorf("session %s is %s: %v", s.Operation, s.Verdict, s.Findings)
		}
		// The user and the command are those of the signature.
		if user := monthUsers[i%len(monthUsers)]; s.UserID != user.ID || s.User != user.Name+" <"+user.Email+">" || s.Command != monthCommands[i%len(monthCommands)] ||
			s.Origin != monthOrigins[i%len(monthOrigins)] {
			t.Errorf("session %s: %s, %q", s.Operation, s.UserID, s.Command)
		}
		if s.Ended.IsZero() == (s.End != nil) || s.End != nil && s.Seconds <= 0 {
			t.Errorf("session %s: ended %s, %+v, after %f s", s.Operation, s.Ended, s.End, s.Seconds)
		}
	}
}

// TestTampering changes every byte of reports of each format, removes some, and adds some.
func TestTampering(t *testing.T) {
	key, keys := testKey(t)
	r := month(t, 2)
	for _, format := range []string{HTML, CSV, JSON} {
		whole := write(t, format, r)
		claim, signer, err := Verify(whole, keys)
		if err != nil || signer != key.ID() || claim.Format != format || claim.Sessions != 2 || claim.Verdict != r.Verdict || !slices.Equal(claim.Inputs, r.Inputs) {
			t.Fatalf("%s: %+v, %s, %v", format, claim, signer, err)
		}
		changed := slices.Clone(whole)
		for i := range changed {
			changed[i] ^= 1 << (i % 6)
			if _, _, err := Verify(changed, keys); err == nil {
				t.Fatalf("%s: byte %d of %d, %q, was changed to %q, and not found", format, i, len(whole), whole[i], changed[i])
			}
			changed[i] = whole[i]
		}
		_, start, end := findSignature(whole)
		for what, other := range map[string][]byte{
			"without its first byte": whole[1:], "without its last byte": whole[:len(whole)-1], "with a line more": append(slices.Clone(whole), '\n'),
			"with another before it": slices.Concat(whole, whole), "without the signature": slices.Concat(whole[:start], whole[end:]), "empty": nil,
			"with the signature of another format": slices.Concat(whole[:start], signatureOf(t, map[string]string{HTML: CSV, CSV: JSON, JSON: HTML}[format], r), whole[end:]),
			"with another kind of signature":       slices.Concat(whole[:start], endSignature(t), whole[end:]),
		} {
			if _, _, err := Verify(other, keys); err == nil {
				t.Errorf("%s %s is not found", format, what)
			}
		}
		unsigned := *r
		unsigned.Made.Signed = false
		data := write(t, format, &unsigned)
		if _, _, err := Verify(data, keys); !errors.Is(err, ErrUnsigned) || !bytes.Contains(data, []byte("othing proves th")) && format != JSON {
			t.Errorf("%s without a signature: %v", format, err)
		}
	}
}

// signatureOf returns the signature of a report in a format.
func signatureOf(t *testing.T, format string, r *Report) []byte {
	data := write(t, format, r)
	_, start, end := findSignature(data)
	return data[start:end]
}

// endSignature returns a signature of the end of a session.
func endSignature(t *testing.T) []byte {
	key, _ := testKey(t)
	signature, err := key.Sign(schema.SignedEnd, schema.Totals{})
	if err != nil {
		t.Fatal(err)
	}
	return []byte(signature)
}

// TestCSV checks that each row has all cells, that none is a formula, and that none has a control
// character.
func TestCSV(t *testing.T) {
	data := write(t, CSV, month(t, 10))
	reader := csv.NewReader(bytes.NewReader(data))
	rows, err := reader.ReadAll() // which requires the same number of cells in all rows
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]int)
	for _, row := range rows {
		kinds[row[0]]++
		for _, cell := range row {
			if cell != "" && strings.Contains("=+-@\t\r", cell[:1]) || strings.ContainsFunc(cell, schema.IsHidden) {
				t.Errorf("the cell %q", cell)
			}
		}
	}
	for _, kind := range []string{rowFinding, rowTotal, rowDrain, rowRefusal, rowEvent, rowReport, rowInput, rowKey} {
		if kinds[kind] == 0 {
			t.Errorf("there are no rows %q", kind)
		}
	}
	if kinds[rowSession] != 10 || kinds[rowSignature] != 1 || rows[len(rows)-1][0] != rowSignature || bytes.Count(data, []byte("\n")) != bytes.Count(data, []byte("\r\n")) {
		t.Errorf("rows: %v", kinds)
	}
}

// TestHTML checks that the page is well-formed, has nothing of other places and no script, and
// shows what users wrote as text.
func TestHTML(t *testing.T) {
	data := write(t, HTML, month(t, 10))
	doc, err := html.Parse(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	ids, count := make(map[string]bool), make(map[string]int)
	for n := range doc.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "style" {
			text.WriteString(n.Data)
		}
		if n.Type != html.ElementNode {
			continue
		}
		count[n.Data]++
		if slices.Contains([]string{"script", "link", "img", "iframe", "object", "embed", "form", "base", "svg", "a"}, n.Data) {
			t.Errorf("the page has <%s>", n.Data)
		}
		if n.Data == "table" && (n.FirstChild.NextSibling == nil || n.FirstChild.NextSibling.Data != "caption") {
			t.Error("a table has no caption")
		}
		for _, a := range n.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "src", a.Key == "href":
				t.Errorf("<%s> has %s=%q", n.Data, a.Key, a.Val)
			case a.Key == "id" && ids[a.Val]:
				t.Errorf("two elements have the ID %q", a.Val)
			case a.Key == "id":
				ids[a.Val] = true
			case a.Key == "scope" && n.Data != "th":
				t.Errorf("<%s> has a scope", n.Data)
			}
		}
		for _, a := range n.Attr {
			if a.Key == "aria-labelledby" && !bytes.Contains(data, []byte(`id="`+a.Val+`"`)) {
				t.Errorf("nothing has the ID %q", a.Val)
			}
		}
	}
	if count["table"] < 8 || count["thead"] < 7 || count["h1"] != 1 || count["main"] != 1 || count["style"] != 1 {
		t.Errorf("elements: %v", count)
	}
	for _, want := range []string{"Eve <script>alert(1)</script>‹U+202E›gnp.exe", "printf '‹U+001B›[31mred‹U+0007›‹U+000A›‹U+001B›[m'", "killed, by Grace Hopper: the incident of the payment queue"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	if long := shorten(strings.Repeat("x", 401)); long != strings.Repeat("x", 400)+"… (1 more characters)" {
		t.Errorf("a long text is %q", long)
	}
	if strings.ContainsFunc(text.String(), func(r rune) bool { return schema.IsHidden(r) && r != '\n' }) {
		t.Error("the page has hidden characters")
	}
	if bytes.Contains(data, []byte("url(")) || bytes.Contains(data, []byte("@import")) {
		t.Error("the style refers to another place")
	}
}

// jsonNames returns the names of the fields of a type in JSON, also of embedded and inner ones,
// except those of the results of audits.
func jsonNames(t reflect.Type) (names []string) {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || strings.HasSuffix(t.PkgPath(), "/audit") || t == reflect.TypeFor[time.Time]() {
		return nil
	}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			names = append(names, name)
		}
		names = append(names, jsonNames(t.Field(i).Type)...)
	}
	return names
}

// TestDocumented checks that the page about reports has all fields, rows and columns.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../cmd/ttydrain/docs/report.md")
	if err != nil {
		t.Fatal(err)
	}
	names := append(jsonNames(reflect.TypeFor[Report]()), rowSession, rowFinding, rowTotal, rowDrain, rowRefusal, rowEvent, rowReport, rowInput, rowKey, rowSignature)
	if len(names) < 50 {
		t.Errorf("found %d names: the test looks in the wrong place", len(names))
	}
	for _, name := range names {
		if !bytes.Contains(page, []byte("`"+name+"`")) && !bytes.Contains(page, []byte("."+name+"`")) {
			t.Errorf("report.md does not have %q", name)
		}
	}
}

// TestJSON checks that the report is read back as it was, and has nothing that a session showed.
func TestJSON(t *testing.T) {
	r := month(t, 10)
	data := write(t, JSON, r)
	var got struct {
		Report
		Signature string `json:"signature"`
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Sessions) != 10 || got.Sessions[3].Command != "+1+1" || got.Totals.Damaged != r.Totals.Damaged || got.Signature == "" || got.Server.Drains[1].DeadLetters != 3 {
		t.Errorf("%+v", got)
	}
	if bytes.Contains(data, []byte("line 1 of")) {
		t.Error("the report has output of a session")
	}
}

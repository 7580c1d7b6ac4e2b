package report

import (
	"strings"
	"testing"
)

func TestReplaceTables(t *testing.T) {
	const text = "before\n" + beginMarker + "\nold\n" + endMarker + "\nafter\n"
	got, ok := replaceTables([]byte(text), "new\n")
	if want := "before\n" + beginMarker + "\nnew\n" + endMarker + "\nafter\n"; !ok || string(got) != want {
		t.Errorf("%v: %q", ok, got)
	}
	for _, text := range []string{"", beginMarker + "\n", endMarker + "\n" + beginMarker + "\n"} {
		if got, ok := replaceTables([]byte(text), "new\n"); ok {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestWrap(t *testing.T) {
	long := strings.Repeat("word ", 30)
	for _, test := range []struct{ text, want string }{
		{"", ""},
		{"short\n\n- ×: a ratio\n", "short\n\n- ×: a ratio\n"},
		{"| " + long + "|\n", "| " + long + "|\n"},
		{"    " + long + "\n", "    " + long + "\n"},
		{long + "\n", strings.TrimSpace(strings.Repeat("word ", 24)) + "\n" + strings.TrimSpace(strings.Repeat("word ", 6)) + "\n"},
		{"- " + long + "\n", "- " + strings.TrimSpace(strings.Repeat("word ", 23)) + "\n  " + strings.TrimSpace(strings.Repeat("word ", 7)) + "\n"},
	} {
		if got := wrap(test.text); got != test.want {
			t.Errorf("%q: got %q, want %q", test.text, got, test.want)
		}
	}
}

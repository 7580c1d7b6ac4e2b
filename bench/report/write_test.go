package report

import (
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

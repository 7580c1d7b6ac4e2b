package sinks

import (
	"bytes"
	"testing"
)

// TestLimitedWriter: nothing of a body goes out that would be taken for the request after it.
func TestLimitedWriter(t *testing.T) {
	var to bytes.Buffer
	w := &limitedWriter{&to, 300 << 10}
	if n, err := bytes.NewReader(make([]byte, 200<<10)).WriteTo(w); n != 200<<10 || err != nil {
		t.Errorf("%d bytes were taken: %v", n, err)
	}
	if n, err := w.Write(make([]byte, 100<<10+1)); n != 0 || err == nil || to.Len() != 200<<10 {
		t.Errorf("%d bytes too many were taken: %v", n, err)
	}
}

package config

import (
	"strings"
	"testing"
)

// TestIsPasted checks which texts are taken for the content of a file instead of its path.
func TestIsPasted(t *testing.T) {
	for _, test := range []struct {
		text string
		want bool
	}{
		{"-----BEGIN OPENSSH PRIVATE KEY-----", true},
		{strings.Repeat("b3BlbnNzaC1rZXktdjEAAAAA", 3), true},
		{"MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAA/AAAAAAA+w==", true},
		{"/var/lib/kubelet/pods/volumes/projected/customers/acme/ca", false},
		{"/srv/ttydrain/Customers2026/archive", false},
		{"./keys/ca.pem", false},
	} {
		if got := isPasted(test.text); got != test.want {
			t.Errorf("%s: got %t", test.text, got)
		}
	}
}

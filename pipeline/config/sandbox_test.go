package config

import (
	"strings"
	"testing"
)

// withSandbox is a small configuration with settings of the sandbox.
func withSandbox(settings string) []byte {
	return []byte("user_document: {issuer: https://auth.example.com}\n" +
		"users: [{id: u-1, name: Ada, email: ada@example.com, authorized_keys: [testdata/keys/ada.pub], apps: [web]}]\n" +
		"stacks: [{name: default}]\napps: [{name: web, stack: default, pids: 100}]\n" + settings + "\n")
}

func TestUIDRange(t *testing.T) {
	for _, test := range []struct {
		text      string
		low, high int
		mistake   string // a part of the message; "" for none
	}{
		{"", 1879048192, 1879113727, ""},
		{"none", 0, 0, ""},
		{"300000-365535", 300000, 365535, ""},
		{"1000-1015", 1000, 1015, ""},
		{"999-2000", 0, 0, "from 1000 to 2147483646"},
		{"0-65535", 0, 0, "from 1000"},
		{"300000-4294967295", 0, 0, "to 2147483646"},
		{"300000", 0, 0, "expected two user IDs"},
		{"300000-x", 0, 0, "expected two user IDs"},
		{"300000:65536", 0, 0, "expected two user IDs"},
		{"300000-300003", 0, 0, "fewer than 16"},
		{"365535-300000", 0, 0, "fewer than 16"},
		{"60000-70000", 0, 0, "65534 or 65535"},
	} {
		settings := ""
		if test.text != "" {
			settings = "sandbox: {uid_range: " + test.text + "}"
		}
		c, err := parse("test.yaml", withSandbox(settings))
		if test.mistake != "" {
			m := mistakesOf(t, err)
			if len(m) != 1 || m[0].Path != "sandbox.uid_range" || m[0].Line != 5 || m[0].Column != 22 || !strings.Contains(m[0].Message, test.mistake) {
				// A number alone is no string.
				if test.text != "300000" || m[0].Path != "sandbox.uid_range" {
					t.Errorf("%s: %v", test.text, err)
				}
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		low, high, ok := c.Sandbox.Users()
		if low != test.low || high != test.high || ok != (test.text != "none") {
			t.Errorf("%s: %d-%d %v", test.text, low, high, ok)
		}
		if c.Apps[0].Pids != 100 {
			t.Errorf("pids: %d", c.Apps[0].Pids)
		}
	}
}

package gateway

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/schema"
)

func TestOriginOf(t *testing.T) {
	signer, _ := newKey(t)
	authority, _ := newKey(t)
	key, ca := signer.PublicKey(), authority.PublicKey()
	cert := &ssh.Certificate{Key: key, Serial: 1<<64 - 1, SignatureKey: ca}
	for _, test := range []struct {
		name    string
		remote  net.Addr
		version string
		key     ssh.PublicKey
		token   bool
		want    schema.Origin
	}{
		{"key", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 50000}, "SSH-2.0-OpenSSH_9.9", key, false,
			schema.Origin{Address: "192.0.2.7", Client: "SSH-2.0-OpenSSH_9.9", Method: "key"}},
		{"key and token, IPv6", &net.TCPAddr{IP: net.ParseIP("2001:db8::1")}, "SSH-2.0-x", key, true,
			schema.Origin{Address: "2001:db8::1", Client: "SSH-2.0-x", Method: "key+token"}},
		{"certificate, with a zone", &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, "SSH-2.0-x", cert, false,
			schema.Origin{Address: "fe80::1", Client: "SSH-2.0-x", Method: "certificate", Serial: "18446744073709551615"}},
		{"certificate and token", &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.7")}, "SSH-2.0-x", cert, true,
			schema.Origin{Address: "192.0.2.7", Client: "SSH-2.0-x", Method: "certificate+token", Serial: "18446744073709551615"}},
		{"no IP address", &net.UnixAddr{Name: "/s"}, "SSH-2.0-x", key, false, schema.Origin{Client: "SSH-2.0-x", Method: "key"}},
		{"version with control characters", nil, "SSH-2.0-\x1b[2J\u202e\xff" + strings.Repeat("x", 300), key, false,
			schema.Origin{Client: "SSH-2.0-?[2J??" + strings.Repeat("x", 300), Method: "key"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.want.Key = ssh.FingerprintSHA256(key)
			if test.want.Serial != "" {
				test.want.CA = ssh.FingerprintSHA256(ca)
			}
			got := originOf(test.remote, []byte(test.version), &identity{Login: Login{Key: test.key}, fingerprint: fingerprint(test.key)})
			if test.token {
				got = withToken(got)
			}
			if len(got.Client) > maxVersion {
				t.Errorf("the version has %d characters", len(got.Client))
			}
			test.want.Client = test.want.Client[:min(len(test.want.Client), len(got.Client))]
			if got != test.want {
				t.Errorf("%+v; expected %+v", got, test.want)
			}
		})
	}
}

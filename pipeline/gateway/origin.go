package gateway

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/schema"
)

// maxVersion is the maximum length of a client's version: an identification string has at most 255
// characters (RFC 4253 §4.2).
const maxVersion = 255

// originOf describes where a login came from, before any session presents an access token.
func originOf(remote net.Addr, version []byte, who *identity) schema.Origin {
	o := schema.Origin{Address: ipOf(remote), Client: printableVersion(version), Method: schema.MethodKey, Key: who.fingerprint}
	if cert, ok := who.Key.(*ssh.Certificate); ok {
		o.Method, o.Serial, o.CA = schema.MethodCertificate, strconv.FormatUint(cert.Serial, 10), ssh.FingerprintSHA256(cert.SignatureKey)
	}
	return o
}

// withToken returns an origin whose session has presented an access token.
func withToken(o schema.Origin) schema.Origin {
	o.Method = schema.MethodKeyToken
	if o.CA != "" {
		o.Method = schema.MethodCertificateToken
	}
	return o
}

// ipOf returns the IP address, an IPv4 address without its mapping to IPv6; "" if there is none.
func ipOf(remote net.Addr) string {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return ""
	}
	ip, ok := netip.AddrFromSlice(tcp.IP)
	if !ok {
		return ""
	}
	return ip.Unmap().String() // a zone is a name of this host's interfaces
}

// printableVersion returns a client's version in printable ASCII, with "?" for other characters.
func printableVersion(version []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(version[:min(len(version), maxVersion)]))
}

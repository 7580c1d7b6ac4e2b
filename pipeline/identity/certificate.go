package identity

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/schema"
)

// Extensions of a certificate that identify its holder. Without them the key ID does. Names of
// extensions that are not defined by OpenSSH end in the domain of their author (PROTOCOL.certkeys,
// "Extensions").
const (
	extensionID    = "id@ttydrain"
	extensionName  = "name@ttydrain"
	extensionEmail = "email@ttydrain"

	extensionTerminal = "permit-pty"
)

// Supported critical options. Any other makes a certificate invalid, as required
// (PROTOCOL.certkeys, "Critical options"), including verify-required, because the gateway cannot
// tell whether a hardware key asked for a PIN.
const (
	optionCommand = "force-command"
	optionSource  = "source-address"
)

// stackPrefix marks a principal, or an app in a token's claim, that stands for all apps of a stack.
// The names of apps contain no colon.
const stackPrefix = "stack:"

// maxText is the maximum length of a user's name or email address in bytes.
const maxText = 255

// Authority is a CA that signs users' certificates.
type Authority struct {
	Name string
	Keys []ssh.PublicKey
	// Revoked holds its revoked keys and certificates; nil for none.
	Revoked *Revocations
	// Stacks and Apps limit what its certificates may open. An empty list permits all; otherwise
	// both lists must contain the app's.
	Stacks, Apps []string
}

func (a *Authority) covers(app, stack string) bool {
	return (len(a.Stacks) == 0 || slices.Contains(a.Stacks, stack)) && (len(a.Apps) == 0 || slices.Contains(a.Apps, app))
}

// Person is the holder of a certificate.
type Person struct {
	User schema.User
	// Authority, KeyID and Serial identify the certificate in logs.
	Authority string
	KeyID     string
	Serial    uint64
	// ForceCommand is run by every session instead of the requested command; nil for none.
	ForceCommand *string
	// NoTerminal: the certificate does not permit a terminal.
	NoTerminal bool
}

// Door is the app to be opened with a certificate, and the client's address.
type Door struct {
	App, Stack string
	// Remote is the client's address, for source-address.
	Remote net.Addr
}

// CheckCertificate returns the holder of a certificate if it opens the door at now. It must be a
// user certificate that one of the authorities has signed, without SHA-1, and has not revoked; with
// the app among its principals, or "stack:" and the app's stack; valid at now, without any
// tolerance for clock skew; and without critical options other than force-command and
// source-address. A certificate without principals, which some servers accept for everything, opens
// nothing.
//
// The error is the reason, for operators.
func CheckCertificate(authorities []Authority, cert *ssh.Certificate, door Door, now time.Time) (Person, error) {
	if cert.CertType != ssh.UserCert {
		return Person{}, errors.New("it is a host certificate instead of a user certificate")
	}
	at := slices.IndexFunc(authorities, func(a Authority) bool { return hasKey(a.Keys, cert.SignatureKey) })
	if at < 0 {
		return Person{}, fmt.Errorf("it is signed by another CA: %s", ssh.FingerprintSHA256(cert.SignatureKey))
	}
	authority := &authorities[at]
	if cert.Signature.Format == ssh.KeyAlgoRSA {
		return Person{}, errors.New("its signature uses SHA-1: sign it again with -t rsa-sha2-512")
	}
	checker := ssh.CertChecker{
		SupportedCriticalOptions: []string{optionCommand, optionSource},
		Clock:                    func() time.Time { return now },
		IsRevoked:                authority.Revoked.Revokes,
	}
	if len(cert.ValidPrincipals) == 0 {
		return Person{}, errors.New("it has no principals, and so opens no app")
	}
	principal := door.App
	if !slices.Contains(cert.ValidPrincipals, principal) && slices.Contains(cert.ValidPrincipals, stackPrefix+door.Stack) {
		principal = stackPrefix + door.Stack
	}
	if err := checker.CheckCert(principal, cert); err != nil {
		return Person{}, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "ssh: "))
	}
	if sources, ok := cert.CriticalOptions[optionSource]; ok {
		if err := fromSource(door.Remote, sources); err != nil {
			return Person{}, err
		}
	}
	if !authority.covers(door.App, door.Stack) {
		return Person{}, fmt.Errorf("the configuration does not permit certificates of the CA %s for this app", authority.Name)
	}
	user, err := holder(cert)
	if err != nil {
		return Person{}, err
	}
	p := Person{User: user, Authority: authority.Name, KeyID: cert.KeyId, Serial: cert.Serial}
	if command, ok := cert.CriticalOptions[optionCommand]; ok {
		if command == "" || strings.ContainsRune(command, 0) {
			return Person{}, errors.New("its force-command is not a command")
		}
		p.ForceCommand = &command
	}
	_, terminal := cert.Extensions[extensionTerminal]
	p.NoTerminal = !terminal
	return p, nil
}

func hasKey(keys []ssh.PublicKey, key ssh.PublicKey) bool {
	wire := string(key.Marshal())
	return slices.ContainsFunc(keys, func(k ssh.PublicKey) bool { return string(k.Marshal()) == wire })
}

// fromSource returns an error unless the client's address is in the source-address list of a
// certificate: addresses and CIDR blocks separated by commas. A list with any other entry permits
// none.
func fromSource(remote net.Addr, sources string) error {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return errors.New("it is bound to source addresses, and the client has none")
	}
	from := false
	for source := range strings.SplitSeq(sources, ",") {
		if ip := net.ParseIP(source); ip != nil {
			from = from || ip.Equal(tcp.IP)
			continue
		}
		_, block, err := net.ParseCIDR(source)
		if err != nil {
			return errors.New("its source-address is not a list of addresses")
		}
		from = from || block.Contains(tcp.IP)
	}
	if !from {
		return fmt.Errorf("it may not be used from %s", tcp.IP)
	}
	return nil
}

// Compiled on first use: every session's init runs this program without needing it.
var idForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[!-~]{1,255}$`) })

// holder returns the user that a certificate names.
func holder(cert *ssh.Certificate) (schema.User, error) {
	u := schema.User{ID: cert.Extensions[extensionID], Name: cert.Extensions[extensionName], Email: cert.Extensions[extensionEmail]}
	if u.ID == "" {
		u.ID = cert.KeyId
	}
	if !idForm().MatchString(u.ID) {
		return u, fmt.Errorf("its key ID is not a valid user ID (up to 255 ASCII characters without spaces): sign it with -O extension:%s=ID", extensionID)
	}
	if u.Name == "" {
		u.Name = u.ID
	}
	if !isText(u.Name) {
		return u, fmt.Errorf("its %s is not a valid name", extensionName)
	}
	switch {
	case u.Email != "" && !isEmail(u.Email):
		return u, fmt.Errorf("its %s is not an e-mail address", extensionEmail)
	case u.Email == "" && isEmail(u.ID):
		u.Email = u.ID
	}
	return u, nil
}

// isText reports whether a text fits into a line for readers and cannot be confused with another
// one.
func isText(text string) bool {
	return text != "" && len(text) <= maxText && utf8.ValidString(text) && !strings.ContainsFunc(text, schema.IsHidden)
}

func isEmail(text string) bool {
	a, err := mail.ParseAddress(text)
	return err == nil && a.Address == text && isText(text)
}

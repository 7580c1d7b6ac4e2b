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

// The extensions of a certificate that say who its holder is. Without them the key ID does. Names
// of extensions that are not OpenSSH's own end in the domain of whoever made them up
// (PROTOCOL.certkeys, "Extensions").
const (
	extensionID    = "id@ttydrain"
	extensionName  = "name@ttydrain"
	extensionEmail = "email@ttydrain"

	extensionTerminal = "permit-pty"
)

// The critical options that are honoured. Any other makes a certificate invalid, as it must
// (PROTOCOL.certkeys, "Critical options"): verify-required too, since nothing here sees whether a
// hardware key asked for a PIN.
const (
	optionCommand = "force-command"
	optionSource  = "source-address"
)

// stackPrefix makes a principal, or an app in a token's claim, one that stands for all apps of a
// stack. No app's name has a colon in it.
const stackPrefix = "stack:"

// maxText is how long a name or an address of a person may be, in bytes.
const maxText = 255

// An Authority is a CA that signs people's certificates.
type Authority struct {
	Name string
	Keys []ssh.PublicKey
	// Revoked are what it has signed and takes back; nil for nothing.
	Revoked *Revocations
	// Stacks and Apps are what its certificates may open at most. A list without entries stands for
	// all; of two lists, both must have the app's.
	Stacks, Apps []string
}

func (a *Authority) covers(app, stack string) bool {
	return (len(a.Stacks) == 0 || slices.Contains(a.Stacks, stack)) && (len(a.Apps) == 0 || slices.Contains(a.Apps, app))
}

// A Person is what a certificate says of its holder.
type Person struct {
	User schema.User
	// Authority, KeyID and Serial name the certificate in a log.
	Authority string
	KeyID     string
	Serial    uint64
	// ForceCommand is what every session runs in the place of what is asked for; nil for no such
	// thing.
	ForceCommand *string
	// NoTerminal: the certificate does not permit one.
	NoTerminal bool
}

// A Door is what a certificate is to open, from where.
type Door struct {
	App, Stack string
	// Remote is the client's address, for source-address.
	Remote net.Addr
}

// CheckCertificate says who the holder of a certificate is, if it opens the door at now. It must be
// a user certificate that one of the authorities has signed, not with SHA-1, and has not revoked;
// with the app among its principals, or "stack:" and the app's stack; at a time when it is valid,
// by this machine's clock and without any tolerance; and without critical options other than
// force-command and source-address. A certificate without principals, which for some servers opens
// everything, opens nothing.
//
// The error is the reason, for the operators.
func CheckCertificate(authorities []Authority, cert *ssh.Certificate, door Door, now time.Time) (Person, error) {
	if cert.CertType != ssh.UserCert {
		return Person{}, errors.New("it is a host's certificate, and not a person's")
	}
	at := slices.IndexFunc(authorities, func(a Authority) bool { return hasKey(a.Keys, cert.SignatureKey) })
	if at < 0 {
		return Person{}, fmt.Errorf("another CA has signed it: %s", ssh.FingerprintSHA256(cert.SignatureKey))
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
		return Person{}, fmt.Errorf("certificates of the CA %s do not open this app, by the configuration", authority.Name)
	}
	user, err := holder(cert)
	if err != nil {
		return Person{}, err
	}
	p := Person{User: user, Authority: authority.Name, KeyID: cert.KeyId, Serial: cert.Serial}
	if command, ok := cert.CriticalOptions[optionCommand]; ok {
		if command == "" || strings.ContainsRune(command, 0) {
			return Person{}, errors.New("its force-command is no command")
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

// fromSource says whether the client's address is one of those that a certificate may be used from:
// addresses and CIDR blocks with commas between. A list with anything else in it lets nobody in.
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
			return errors.New("its source-address is no list of addresses")
		}
		from = from || block.Contains(tcp.IP)
	}
	if !from {
		return fmt.Errorf("it may not be used from %s", tcp.IP)
	}
	return nil
}

// It is compiled when it is first asked for: every session's init runs this program, and needs it
// not.
var idForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[!-~]{1,255}$`) })

// holder is the user that a certificate names.
func holder(cert *ssh.Certificate) (schema.User, error) {
	u := schema.User{ID: cert.Extensions[extensionID], Name: cert.Extensions[extensionName], Email: cert.Extensions[extensionEmail]}
	if u.ID == "" {
		u.ID = cert.KeyId
	}
	if !idForm().MatchString(u.ID) {
		return u, fmt.Errorf("its key ID is no user's ID (up to 255 ASCII characters without spaces): sign it with -O extension:%s=ID", extensionID)
	}
	if u.Name == "" {
		u.Name = u.ID
	}
	if !isText(u.Name) {
		return u, fmt.Errorf("its %s is no name", extensionName)
	}
	switch {
	case u.Email != "" && !isEmail(u.Email):
		return u, fmt.Errorf("its %s is no e-mail address", extensionEmail)
	case u.Email == "" && isEmail(u.ID):
		u.Email = u.ID
	}
	return u, nil
}

// isText reports whether a text can stand in a line that people read, and looks like no other.
func isText(text string) bool {
	return text != "" && len(text) <= maxText && utf8.ValidString(text) && !strings.ContainsFunc(text, schema.IsHidden)
}

func isEmail(text string) bool {
	a, err := mail.ParseAddress(text)
	return err == nil && a.Address == text && isText(text)
}

package identity

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/schema"
)

// A workshop is a directory in which ssh-keygen creates keys, certificates and lists.
type workshop struct {
	t   testing.TB
	dir string
}

func newWorkshop(t testing.TB) workshop {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
			t.Fatal("NOT TESTED: ssh-keygen is not installed, and TTYDRAIN_REQUIRE_SERVERS=1 requires it")
		}
		t.Skip("SKIPPED, NOT TESTED: ssh-keygen is not installed")
	}
	return workshop{t, t.TempDir()}
}

func (w workshop) keygen(args ...string) {
	w.t.Helper()
	cmd := exec.Command("ssh-keygen", append([]string{"-q"}, args...)...)
	cmd.Dir = w.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("ssh-keygen %s: %v\n%s", args, err, out)
	}
}

func (w workshop) file(name string) []byte {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return data
}

func (w workshop) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// key creates a key NAME, and returns its public half.
func (w workshop) key(name string, args ...string) ssh.PublicKey {
	w.t.Helper()
	w.keygen(append([]string{"-N", "", "-C", name, "-f", name}, args...)...)
	return w.public(name + ".pub")
}

func (w workshop) public(name string) ssh.PublicKey {
	w.t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey(w.file(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

// sign creates a certificate of a key, signed by a CA.
func (w workshop) sign(ca, key string, args ...string) *ssh.Certificate {
	w.t.Helper()
	w.keygen(append(append([]string{"-s", ca}, args...), key+".pub")...)
	return w.public(key + "-cert.pub").(*ssh.Certificate)
}

var (
	fromHere = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 40000}
	webDoor  = Door{App: "web", Stack: "default", Remote: fromHere}
)

func TestCheckCertificate(t *testing.T) {
	w := newWorkshop(t)
	staff := w.key("staff", "-t", "ed25519")
	w.key("other", "-t", "ed25519")
	old := w.key("old", "-t", "rsa", "-b", "2048")
	limited := w.key("limited", "-t", "ecdsa")
	w.key("ada", "-t", "ed25519")
	w.key("bob", "-t", "ed25519")
	w.write("revoked", "serial: 66\nid: stolen\n"+string(w.file("bob.pub")))
	revoked, err := ParseRevocations(w.file("revoked"))
	if err != nil {
		t.Fatal(err)
	}
	authorities := []Authority{
		{Name: "staff", Keys: []ssh.PublicKey{staff, old}, Revoked: revoked},
		{Name: "limited", Keys: []ssh.PublicKey{limited}, Stacks: []string{"default"}, Apps: []string{"api"}},
	}
	who := "-I u-1 -n web"
	command := "uptime"
	ada := Person{User: schema.User{ID: "u-1", Name: "u-1"}, Authority: "staff", KeyID: "u-1"}
	full := ada
	full.User = schema.User{ID: "u-9", Name: "Ada Lovelace", Email: "ada@example.com"}
	forced := ada
	forced.ForceCommand = &command
	byMail := ada
	byMail.KeyID, byMail.User = "ada@example.com", schema.User{ID: "ada@example.com", Name: "ada@example.com", Email: "ada@example.com"}
	without := ada
	without.NoTerminal = true

	for _, test := range []struct {
		name, ca, key, args string
		extra               []string // arguments that contain spaces
		door                Door
		want                Person
		reason              string
	}{
		{name: "plain", args: who, want: ada},
		{name: "by a mail address", args: "-I ada@example.com -n web", want: byMail},
		{name: "all said", args: who + " -O extension:id@ttydrain=u-9 -O extension:email@ttydrain=ada@example.com",
			extra: []string{"-O", "extension:name@ttydrain=Ada Lovelace"}, want: full},
		{name: "all apps of the stack", args: "-I u-1 -n stack:default", want: ada},
		{name: "one principal of several", args: "-I u-1 -n api,web,x", want: ada},
		{name: "unknown extension", args: who + " -O extension:other@example.com=1", want: ada},
		{name: "no terminal", args: who + " -O clear", want: without},
		{name: "command", args: who + " -O force-command=uptime", want: forced},
		{name: "from here", args: who + " -O source-address=10.0.0.0/8,192.0.2.0/24", want: ada},
		{name: "valid now", args: who + " -V 20000101:21000101", want: ada},
		{name: "RSA with SHA-2", ca: "old", args: who + " -t rsa-sha2-512", want: ada},

		{name: "another CA", ca: "other", args: who, reason: "it is signed by another CA: SHA256:"},
		{name: "SHA-1", ca: "old", args: who + " -t ssh-rsa", reason: "SHA-1"},
		{name: "a host's", args: "-h -I u-1 -n web", reason: "host certificate"},
		{name: "expired", args: who + " -V 20000101:20000102", reason: "expired"},
		{name: "not yet", args: who + " -V 21000101:21000102", reason: "not yet valid"},
		{name: "another app", args: "-I u-1 -n api", reason: `principal "web" not in`},
		{name: "another stack", args: "-I u-1 -n stack:other", reason: `principal "web" not in`},
		{name: "a wildcard is a name", args: "-I u-1 -n *", reason: `principal "web" not in`},
		{name: "no principals", args: "-I u-1", reason: "no principals"},
		{name: "revoked by serial", args: who + " -z 66", reason: "revoked"},
		{name: "revoked by key ID", args: "-I stolen -n web", reason: "revoked"},
		{name: "revoked by key", key: "bob", args: who, reason: "revoked"},
		{name: "from elsewhere", args: who + " -O source-address=10.0.0.0/8", reason: "may not be used from 192.0.2.7"},
		{name: "no address", args: who + " -O source-address=10.0.0.0/8", door: Door{App: "web", Stack: "default"}, reason: "the client has none"},
		{name: "unknown option", args: who + " -O critical:x@example.com=1", reason: "unsupported critical option"},
		{name: "PIN", args: who + " -O verify-required", reason: "unsupported critical option"},
		{name: "not for this app", ca: "limited", args: who, reason: "the configuration does not permit"},
		{name: "not for this stack", ca: "limited", args: "-I u-1 -n api", door: Door{App: "api", Stack: "other", Remote: fromHere}, reason: "the configuration does not permit"},
		{name: "key ID with spaces", args: "-n web", extra: []string{"-I", "Ada Lovelace"}, reason: "not a valid user ID"},
		{name: "bad address", args: who + " -O extension:email@ttydrain=ada", reason: "not an e-mail address"},
		{name: "name that reads the other way", args: who, extra: []string{"-O", "extension:name@ttydrain=Ada\u202eecalevoL"}, reason: "is not a valid name"},
		{name: "name with a character of no width", args: who, extra: []string{"-O", "extension:name@ttydrain=Ada\u2060 Lovelace"}, reason: "is not a valid name"},
		{name: "email with a character of no width", args: who, extra: []string{"-O", "extension:email@ttydrain=ada\u200b@example.com"}, reason: "is not an e-mail"},
		{name: "bad name", args: who, extra: []string{"-O", "extension:name@ttydrain=a\x1b[31m"}, reason: "is not a valid name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ca, key, door := "staff", "ada", webDoor
			if test.ca != "" {
				ca = test.ca
			}
			if test.key != "" {
				key = test.key
			}
			if test.door.App != "" {
				door = test.door
			}
			cert := w.sign(ca, key, append(strings.Fields(test.args), test.extra...)...)
			got, err := CheckCertificate(authorities, cert, door, time.Now())
			if test.reason != "" {
				if err == nil || !strings.Contains(err.Error(), test.reason) {
					t.Errorf("%+v, %v; expected %q", got, err, test.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if (got.ForceCommand == nil) != (test.want.ForceCommand == nil) || got.ForceCommand != nil && *got.ForceCommand != *test.want.ForceCommand {
				t.Errorf("the command is %v", got.ForceCommand)
			}
			got.ForceCommand, test.want.ForceCommand = nil, nil
			if got != test.want {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

// TestCertificateTimes checks to the second: valid from the first second, and no longer in the
// last.
func TestCertificateTimes(t *testing.T) {
	w := newWorkshop(t)
	authorities := []Authority{{Name: "staff", Keys: []ssh.PublicKey{w.key("staff", "-t", "ed25519")}}}
	w.key("ada", "-t", "ed25519")
	cert := w.sign("staff", "ada", "-I", "u-1", "-n", "web", "-V", "20300101:20300102")
	from, to := time.Unix(int64(cert.ValidAfter), 0), time.Unix(int64(cert.ValidBefore), 0)
	for now, valid := range map[time.Time]bool{from.Add(-time.Second): false, from: true, to.Add(-time.Second): true, to: false} {
		if _, err := CheckCertificate(authorities, cert, webDoor, now); (err == nil) != valid {
			t.Errorf("at %s: %v", now, err)
		}
	}
}

// TestForgedCertificate changes the signed content.
func TestForgedCertificate(t *testing.T) {
	w := newWorkshop(t)
	authorities := []Authority{{Name: "staff", Keys: []ssh.PublicKey{w.key("staff", "-t", "ed25519")}}}
	w.key("ada", "-t", "ed25519")
	cert := w.sign("staff", "ada", "-I", "u-1", "-n", "web")
	cert.KeyId = "root"
	if p, err := CheckCertificate(authorities, cert, webDoor, time.Now()); err == nil || !strings.Contains(err.Error(), "does not verify") {
		t.Errorf("%+v, %v", p, err)
	}
}

// query asks ssh-keygen whether a list revokes a certificate.
func (w workshop) query(list, cert string) (status int, out string) {
	w.t.Helper()
	cmd := exec.Command("ssh-keygen", "-Q", "-f", list, cert)
	cmd.Dir = w.dir
	data, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		w.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(data)
}

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// keygen runs ssh-keygen in the site's folder.
func (s *site) keygen(args ...string) {
	s.t.Helper()
	cmd := exec.Command(need(s.t, "ssh-keygen"), append([]string{"-q"}, args...)...)
	cmd.Dir = s.dir
	if got := runTo(s.t, cmd); got.status != 0 {
		s.t.Fatalf("ssh-keygen %s: %s%s", args, got.stdout, got.stderr)
	}
}

// certify makes a key NAME with a certificate of a CA, and returns the arguments of ssh for it.
func (s *site) certify(ca, name string, args ...string) (key string, options []string) {
	s.t.Helper()
	key = s.newKey(name)
	s.keygen(append(append([]string{"-s", ca}, args...), name+".pub")...)
	return key, []string{"-o", "CertificateFile=" + key + "-cert.pub"}
}

// caSite returns a site with a user CA "staff", and with the key of another CA.
func caSite(t testing.TB, options ...siteOption) *site {
	t.Helper()
	s := newSite(t, append(options, withSettings("user_ca: [{name: staff, public_keys: [./staff.pub], match: {apps: [web]}, revoked_keys: ./revoked}]"))...)
	s.newKey("staff")
	s.newKey("other")
	s.write(filepath.Join(s.dir, "revoked"), "")
	return s
}

// TestCertificates logs in with certificates that ssh-keygen made, and OpenSSH's client.
func TestCertificates(t *testing.T) {
	t.Parallel()
	drain := httpsDrain(t, "siem", "")
	site := caSite(t, withDrains(drain.entry))
	v := site.serve()
	site.keygen("-k", "-f", "revoked", "-s", "staff.pub", "/dev/null") // a list of nothing yet: read again

	login := func(key string, options []string, args ...string) result {
		t.Helper()
		return runTo(t, v.openssh(key, append(options, args...)...))
	}
	key, options := site.certify("staff", "grace", "-I", "grace@example.com", "-n", "web,api", "-z", "41",
		"-O", "extension:id@ttydrain=u-41", "-O", "extension:name@ttydrain=Grace Hopper", "-V", "-1m:+1h")
	got := login(key, options, "web@127.0.0.1", "echo in")
	if got.status != 0 || got.stdout != "in\n" {
		t.Fatalf("a good certificate: %+v", got)
	}
	first := drain.transcript(t, operationOf(t, []byte(got.stderr))).records[0]
	if first.OperationUserName != "Grace Hopper" || first.OperationUserEmail != "" || !strings.Contains(got.stderr, "for Grace Hopper") {
		t.Errorf("the session is that of %s <%s>: %s", first.OperationUserName, first.OperationUserEmail, got.stderr)
	}
	if c := claimsOf(t, first.UserDocument); c.Subject != "u-41" || c.ID != "u-41" || c.Name != "Grace Hopper" {
		t.Errorf("the user document says %+v", c)
	}
	await(t, "for the key ID in the log", func() bool { return slices.Contains(v.logged("logged in", "key_id"), "grace@example.com") })

	own := exec.Command(site.program, "ssh", "--address", v.ssh, "--app", "web", "-i", key, "--known-hosts", v.knownHosts(), "echo in")
	if got := runTo(t, own); got.status != 0 || got.stdout != "in\n" || !strings.Contains(got.stderr, "for Grace Hopper") {
		t.Errorf("by ttydrain ssh, with the certificate beside the key: %+v", got)
	}

	t.Run("options", func(t *testing.T) {
		key, options := site.certify("staff", "runner", "-I", "runner@example.com", "-n", "web", "-O", "force-command=echo \"forced, not $SSH_ORIGINAL_COMMAND\"")
		if got := login(key, options, "web@127.0.0.1", "echo free"); got.status != 0 || got.stdout != "forced, not echo free\n" {
			t.Errorf("with a forced command: %+v", got)
		}
		key, options = site.certify("staff", "plain", "-I", "plain@example.com", "-n", "web", "-O", "no-pty")
		if got := login(key, options, "-tt", "web@127.0.0.1", "tty"); got.status != 255 || !strings.Contains(got.stderr, "PTY allocation request failed") {
			t.Errorf("with a terminal that is not permitted: %+v", got)
		}
		if got := login(key, options, "web@127.0.0.1", "tty"); got.status != 1 || got.stdout != "not a tty\n" {
			t.Errorf("without a terminal: %+v", got)
		}
		key, options = site.certify("staff", "local", "-I", "local@example.com", "-n", "web", "-O", "source-address=127.0.0.0/8")
		if got := login(key, options, "web@127.0.0.1", "echo in"); got.stdout != "in\n" {
			t.Errorf("from here: %+v", got)
		}
		key, options = site.certify("staff", "team", "-I", "team@example.com", "-n", "stack:default")
		if got := login(key, options, "web@127.0.0.1", "echo in"); got.stdout != "in\n" {
			t.Errorf("all apps of the stack: %+v", got)
		}
		if got := login(key, options, "api@127.0.0.1", "echo in"); got.status != 255 {
			t.Errorf("an app that the CA is not for: %+v", got)
		}
	})

	for i, test := range []struct{ name, ca, app, args, reason string }{
		{"expired", "staff", "web", "-n web -V 20000101:20000102", "expired"},
		{"not yet valid", "staff", "web", "-n web -V 20900101:20900102", "not yet valid"},
		{"another principal", "staff", "web", "-n api", "principal"},
		{"another CA", "other", "web", "-n web", "another CA"},
		{"no principals", "staff", "web", "", "no principals"},
		{"from elsewhere", "staff", "web", "-n web -O source-address=192.0.2.0/24", "may not be used from 127.0.0.1"},
		{"unknown option", "staff", "web", "-n web -O critical:only@example.com=x", "critical option"},
		{"not for this app", "staff", "api", "-n api", "the configuration does not permit"},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := fmt.Sprintf("no-%d@example.com", i)
			key, options := site.certify(test.ca, fmt.Sprintf("no-%d", i), append([]string{"-I", id}, strings.Fields(test.args)...)...)
			v.mustRefuse(t, key, options, test.app, id, test.reason)
		})
	}

	t.Run("a host's", func(t *testing.T) {
		// OpenSSH's client does not send one.
		key, _ := site.certify("staff", "host", "-h", "-I", "host@example.com", "-n", "web")
		if err := v.dialCertificate(t, key); err == nil {
			t.Error("logged in")
		}
		v.mustHaveRefused(t, "host@example.com", "host certificate")
	})

	t.Run("revoked", func(t *testing.T) {
		// An open connection, too, opens no more sessions.
		socket := filepath.Join(site.dir, "master")
		master := v.openssh(key, append(options, "-M", "-S", socket, "-N", "web@127.0.0.1")...)
		if err := master.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { master.Process.Kill(); master.Wait() })
		over := func() result { return runTo(t, v.openssh(key, "-S", socket, "web@127.0.0.1", "echo over")) }
		await(t, "for the shared connection", func() bool { return over().stdout == "over\n" })

		site.write(filepath.Join(site.dir, "spec"), "serial: 41\n")
		v.reload(reloadOK, func() { site.keygen("-k", "-u", "-f", "revoked", "-s", "staff.pub", "spec") })
		v.mustRefuse(t, key, options, "web", "grace@example.com", "revoked")
		if got := over(); got.status != 255 || !strings.Contains(got.stderr, "may not open this app any more") {
			t.Errorf("over the open connection: %+v", got)
		}
	})

	// A damaged list is not an empty one: the one before stays in force.
	v.reload(reloadRefused, func() { site.write(filepath.Join(site.dir, "revoked"), "SSHKRL\n\x00") })
	if got := login(key, options, "web@127.0.0.1", "echo in"); got.status != 255 {
		t.Errorf("with a damaged list of what is revoked: %+v", got)
	}
}

// mustRefuse fails to log in, and finds the reason in the log and not at the client.
func (v *server) mustRefuse(t *testing.T, key string, options []string, app, id, reason string) {
	t.Helper()
	got := runTo(t, v.openssh(key, append(options, app+"@127.0.0.1", "echo in")...))
	if got.status != 255 || !strings.Contains(got.stderr, "Permission denied") || strings.Contains(got.stdout+got.stderr, reason) {
		t.Errorf("not refused, or with the reason: %+v", got)
	}
	v.mustHaveRefused(t, id, reason)
}

// mustHaveRefused finds the refusal of a certificate in the log.
func (v *server) mustHaveRefused(t *testing.T, id, reason string) {
	t.Helper()
	await(t, "for the log to tell of the refusal of "+id+" because of "+reason, func() bool {
		ids, reasons := v.logged("certificate refused", "key_id"), v.logged("certificate refused", "reason")
		for i := range ids {
			if ids[i] == id && strings.Contains(reasons[i], reason) {
				return true
			}
		}
		return false
	})
}

// dialCertificate logs in with the SSH library, and a certificate that it does not look at.
func (v *server) dialCertificate(t *testing.T, key string) error {
	t.Helper()
	read := func(name string) []byte {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	signer, err := ssh.ParsePrivateKey(read(key))
	if err != nil {
		t.Fatal(err)
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(read(key + "-cert.pub"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err = ssh.NewCertSigner(public.(*ssh.Certificate), signer)
	if err != nil {
		t.Fatal(err)
	}
	client, err := ssh.Dial("tcp", v.ssh, &ssh.ClientConfig{
		User: "web", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: patience,
	})
	if err != nil {
		return err
	}
	return client.Close()
}

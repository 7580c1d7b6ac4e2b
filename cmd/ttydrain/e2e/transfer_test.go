package e2e

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ended waits for the nth end at a drain, and returns its operation.
func ended(t testing.TB, d *destination, n int) string {
	t.Helper()
	var ends []record
	await(t, fmt.Sprintf("drain %s has %d ends", d.name, n), func() bool {
		ends = slices.DeleteFunc(d.arrived(t, 0), func(r record) bool { return r.Event != "end" })
		return len(ends) >= n
	})
	return ends[n-1].OperationID
}

// TestSFTP: OpenSSH's sftp transfers files by the subsystem and by the server's path. Every drain
// has a record of each transfer, none has content, and every copy is intact.
func TestSFTP(t *testing.T) {
	t.Parallel()
	sftp := need(t, "sftp")
	need(t, "/usr/lib/openssh/sftp-server")
	drains := threeDrains(t)
	v := newSite(t, entries(drains), withApp("file_transfer: record")).serve()
	content := []byte("confidential-" + rand.Text())
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	batch := filepath.Join(dir, "batch")
	if err := os.WriteFile(batch, []byte("put file /tmp/there\nget /tmp/there back\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for n, how := range [][]string{nil, {"-s", "/usr/lib/openssh/sftp-server"}} {
		_, port, _ := strings.Cut(v.ssh, ":")
		cmd := exec.Command(sftp, slices.Concat(how, []string{"-F", "none", "-P", port, "-i", v.site.key, "-b", batch,
			"-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=" + v.knownHosts(), "web@127.0.0.1"})...)
		cmd.Dir = dir
		if got := runTo(t, cmd); got.status != 0 {
			t.Fatalf("sftp %v: status %d: %s%s", how, got.status, got.stdout, got.stderr)
		}
		if back, err := os.ReadFile(filepath.Join(dir, "back")); err != nil || !bytes.Equal(back, content) {
			t.Errorf("sftp %v brought %q back: %v", how, back, err)
		}
		operation := ended(t, drains[0], n+1)
		for _, d := range drains {
			s := d.transcript(t, operation)
			var got []string
			for _, r := range s.events("transfer") {
				if r.Size == nil {
					t.Fatalf("drain %s has a transfer without a size: %s", d.name, r.Whole)
				}
				got = append(got, fmt.Sprintf("%s %s %d %s", r.Direction, r.Path, *r.Size, r.SHA256))
			}
			sum := sumOf(string(content))
			if want := []string{fmt.Sprintf("upload /tmp/there %d %s", len(content), sum), fmt.Sprintf("download /tmp/there %d %s", len(content), sum)}; !slices.Equal(got, want) {
				t.Errorf("drain %s has the transfers %q, want %q", d.name, got, want)
			}
			for _, r := range s.records {
				if strings.Contains(r.Whole, string(content)) {
					t.Errorf("drain %s has content: %s", d.name, r.Whole)
				}
			}
		}
		auditIntact(t, v, drains, operation)
	}
}

// TestTransfersAreRefused: without the setting, a client that transfers files is refused, whatever
// program it requests.
func TestTransfersAreRefused(t *testing.T) {
	t.Parallel()
	v := newSite(t).serve()
	for _, args := range [][]string{
		{"-s", "web@127.0.0.1", "sftp"}, {"web@127.0.0.1", "/usr/lib/openssh/sftp-server"}, {"web@127.0.0.1", "internal-sftp -e"},
		{"web@127.0.0.1", "scp -t /tmp"}, {"web@127.0.0.1", "scp -f /etc/hostname"}, {"web@127.0.0.1", "rsync --server --sender -e.LsfxCIvu . /etc/hostname"},
	} {
		got := runTo(t, v.openssh(v.site.key, args...))
		if got.status != 255 || !strings.Contains(got.stderr, "file transfer and other subsystems are refused") {
			t.Errorf("%v: status %d, %q", args, got.status, got.stderr)
		}
	}
}

// TestInput: the end of a session without a terminal has the size and the digest of its input; the
// bytes are recorded if the app has the setting, and those of a terminal never.
func TestInput(t *testing.T) {
	t.Parallel()
	script := "echo from-the-script\n# " + strings.Repeat("a comment ", 3000) + "\n\xff\xfe\x00\n: \xe6\xbc\xa2\n"
	for _, recorded := range []bool{false, true} {
		t.Run(fmt.Sprintf("record_stdin=%t", recorded), func(t *testing.T) {
			drains := threeDrains(t)
			v := newSite(t, entries(drains), withApp(fmt.Sprintf("record_stdin: %t", recorded))).serve()
			cmd := v.openssh(v.site.key, "web@127.0.0.1", "cat >/dev/null")
			cmd.Stdin = strings.NewReader(script)
			if got := runTo(t, cmd); got.status != 0 {
				t.Fatalf("status %d: %s", got.status, got.stderr)
			}
			operation := ended(t, drains[0], 1)
			for _, d := range drains {
				s := d.transcript(t, operation)
				var input []byte
				for _, r := range s.events("input") {
					input = append(input, r.Input...)
				}
				if want := map[bool]string{true: script}[recorded]; string(input) != want {
					t.Errorf("drain %s has %d bytes of input, want %d", d.name, len(input), len(want))
				}
				if s.end.InputBytes == nil || int(*s.end.InputBytes) != len(script) || s.end.InputSHA256 != sumOf(script) {
					t.Errorf("drain %s: the end has %v bytes of input with %s", d.name, s.end.InputBytes, s.end.InputSHA256)
				}
			}
			auditIntact(t, v, drains, operation)

			secret := newSecret()
			shell := inTerminal(t, v.openssh(v.site.key, "web@127.0.0.1"))
			shell.expect(prompt)
			shell.press("IFS= read -r -s -p 'sec''ret: ' S; echo; echo it h''as ${#S}\r")
			shell.expect("secret: ")
			shell.press(secret + "\r")
			shell.expect("it has ")
			shell.expect(prompt)
			shell.press("exit\r")
			shell.wait()
			operation = ended(t, drains[0], 2)
			for _, d := range drains {
				s := d.transcript(t, operation)
				if s.end.InputBytes != nil || len(s.events("input")) > 0 {
					t.Errorf("drain %s has input of a terminal: %+v", d.name, s.end)
				}
				if s.contains(secret) {
					t.Errorf("drain %s has what was typed without an echo", d.name)
				}
			}
		})
	}
}

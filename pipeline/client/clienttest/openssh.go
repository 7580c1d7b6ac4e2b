package clienttest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// OpenSSH is a running OpenSSH server.
type OpenSSH struct {
	Address string
	User    string // the user who runs the test
	HostKey ssh.PublicKey
}

// StartOpenSSH starts OpenSSH's server, which accepts the users' keys, and stops it at the end of
// the test. If it is not installed the test is skipped, or fails if TTYDRAIN_REQUIRE_SERVERS=1.
func StartOpenSSH(t testing.TB, users ...ssh.PublicKey) *OpenSSH {
	t.Helper()
	program := findSSHD()
	if program == "" {
		if os.Getenv("TTYDRAIN_REQUIRE_SERVERS") == "1" {
			t.Fatal("OpenSSH's server (sshd) is not installed, and TTYDRAIN_REQUIRE_SERVERS=1 requires it")
		}
		t.Skip("SKIPPED: OpenSSH's server (sshd) is not installed: nothing here is tested with a server other than ttydrain's")
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if me.Uid == "0" { // sshd run by root needs this folder for privilege separation
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	host, hostPrivate := NewKey(t)
	WriteKey(t, filepath.Join(dir, "host"), hostPrivate, "")
	var authorized strings.Builder
	for _, key := range users {
		authorized.Write(ssh.MarshalAuthorizedKey(key))
	}
	write(t, filepath.Join(dir, "authorized"), authorized.String())
	config := filepath.Join(dir, "config")
	write(t, config, fmt.Sprintf("HostKey %s/host\nAuthorizedKeysFile %s/authorized\nStrictModes no\nUsePAM no\n"+
		"PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"+
		"AcceptEnv LANG LC_*\nPrintMotd no\nPrintLastLog no\nBanner %s/banner\nMaxAuthTries 3\n", dir, dir, dir))
	write(t, filepath.Join(dir, "banner"), "be \033[31mwelcome\n")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			// One process for each connection, as inetd does it.
			f, err := conn.(*net.TCPConn).File()
			conn.Close()
			if err != nil {
				t.Error(err)
				return
			}
			cmd := exec.Command(program, "-i", "-e", "-f", config)
			log := new(strings.Builder)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, log
			running.Go(func() { // ends when the client closes the connection
				defer f.Close()
				// It exits with 255 when a client leaves before its login.
				cmd.Run()
				if t.Failed() {
					t.Logf("sshd: %s", log)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return &OpenSSH{Address: l.Addr().String(), User: me.Username, HostKey: host.PublicKey()}
}

func findSSHD() string {
	// sshd must be started by its absolute path, which is rarely in PATH.
	for _, program := range []string{"/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"} {
		if _, err := os.Stat(program); err == nil {
			return program
		}
	}
	return ""
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

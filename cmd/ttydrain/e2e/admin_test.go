package e2e

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/authority"
)

// limitFiles starts the site's server with a limit of open files; the soft limit is lower.
func (s *site) limitFiles(hard int) {
	s.t.Helper()
	script := filepath.Join(s.dir, "limited")
	if err := os.WriteFile(script, fmt.Appendf(nil, "#!/bin/bash\nulimit -Sn 200; ulimit -Hn %d; exec %q \"$@\"\n", hard, s.program), 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.program = script
}

// files returns the number of files that the server has open.
func (v *server) files() int {
	v.site.t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", v.cmd.Process.Pid))
	if err != nil {
		v.site.t.Fatal(err)
	}
	return len(all)
}

// resident returns the memory of the server in bytes.
func (v *server) resident() int {
	v.site.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.cmd.Process.Pid))
	if err != nil {
		v.site.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); fields[0] == "VmRSS:" {
			kib, err := strconv.Atoi(fields[1])
			if err != nil {
				v.site.t.Fatal(err)
			}
			return kib << 10
		}
	}
	v.site.t.Fatal("the kernel does not say how much memory the server has")
	return 0
}

// hold opens connections to the admin address from an address of this machine, each with a request
// that never ends.
func (v *server) hold(n int, from, request string) (held []net.Conn) {
	t := v.site.t
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	for range n {
		c, err := d.Dial("tcp", v.admin)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, request) // fails where it is closed already
		held = append(held, c)
	}
	return held
}

// TestAdminFlood holds thousands of endless requests open at the admin address, from one address
// and from many, with a limit of open files that they exceed. Meanwhile a session goes on, others
// start, and commands and health checks are answered; afterwards descriptors and memory are free
// again.
func TestAdminFlood(t *testing.T) {
	t.Parallel()
	s := newSite(t, withoutRaces)
	s.limitFiles(1024)
	v := s.serve()
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", v.cmd.Process.Pid))
	// The limit is one lower, since Go recognizes a limit of its own by that.
	if err != nil || !bytes.Contains(limits, []byte("Max open files            1023                 1024")) {
		t.Errorf("the soft limit of open files was not raised, %v:\n%s", err, limits)
	}
	shell := inTerminal(t, v.openssh(s.key, "web@127.0.0.1"))
	shell.expect(prompt)
	files, memory := v.files(), v.resident()

	works := func(when string) {
		t.Helper()
		shell.do("echo still $((40+2)) here")
		if got := runTo(t, v.openssh(s.key, "web@127.0.0.1", "echo new")); got.status != 0 || got.stdout != "new\n" {
			t.Errorf("%s: a new session: %+v", when, got)
		}
		for _, args := range [][]string{
			{"sessions", "list", "-c", s.config},                     // by the socket
			{"sessions", "list", "-c", s.config, "--admin", v.admin}, // by the address
			{"ready", v.admin}, {"ready", "unix:" + s.store + "/admin/admin.sock"},
		} {
			if got := ttydrain(t, args...); got.status != 0 {
				t.Errorf("%s: %q: %+v", when, args, got)
			}
		}
	}
	works("before")
	body := "POST /console/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\nname=x"
	header := "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: " + strings.Repeat("a", 15<<10)
	var held []net.Conn
	for _, flood := range []struct {
		name, request string
		n             int
		from          []string
	}{
		{"bodies that never come, from one address", body, 2000, []string{"127.0.0.1"}},
		{"headers that never end, from one address", header, 500, []string{"127.0.0.1"}},
		{"bodies that never come, from many addresses", body, 20, loopbacks(100)},
		{"nothing at all, from many addresses", "", 20, loopbacks(100)},
	} {
		for _, from := range flood.from {
			held = append(held, v.hold(flood.n, from, flood.request)...)
		}
		if now := v.files(); now > 1024/2 {
			t.Errorf("%s: the server has %d files open", flood.name, now)
		}
		works(flood.name)
	}
	if !strings.Contains(v.log.String(), "closed connections because of a limit") {
		t.Error("the log does not say that connections were closed")
	}
	for _, c := range held {
		c.Close()
	}
	await(t, "for the descriptors to be back", func() bool { return v.files() <= files+4 }) // what a reader of /proc sees in passing
	await(t, "for the memory to be back", func() bool { return v.resident() <= memory+16<<20 })
	shell.press("exit\r")
	shell.wait()
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}

// loopbacks returns addresses of this machine.
func loopbacks(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("127.0.1.%d", i+1))
	}
	return all
}

// TestAdminSocket: the socket is for one user and hidden from sessions; that of a killed process is
// replaced, and another file is not.
func TestAdminSocket(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	v := s.serve()
	socket := filepath.Join(s.store, "admin", "admin.sock")
	for path, mode := range map[string]os.FileMode{socket: os.ModeSocket | 0o600, filepath.Dir(socket): os.ModeDir | 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if got := runTo(t, v.openssh(s.key, "web@127.0.0.1", "test -e "+socket+" && echo there; ls -A "+s.store)); strings.TrimSpace(got.stdout) != "" {
		t.Errorf("a session sees %q", got.stdout)
	}
	v.signal(syscall.SIGKILL)
	v.status()
	if _, err := os.Lstat(socket); err != nil {
		t.Fatalf("a killed server left no socket behind: %v", err)
	}
	v = s.serve()
	if got := ttydrain(t, "sessions", "list", "-c", s.config); got.status != 0 {
		t.Errorf("a command by the socket: %+v", got)
	}
	v.stop()
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("a server that has stopped left its socket: %v", err)
	}
	if got := ttydrain(t, "sessions", "list", "-c", s.config); got.status != 1 || !strings.Contains(got.stderr, "is serve running, and is unix:"+socket) {
		t.Errorf("a command without a server: %+v", got)
	}
	s.write(socket, "something else")
	refused := s.launch()
	if status := refused.status(); status != 1 || !strings.Contains(refused.log.String(), "is not a socket") {
		t.Errorf("in the place of the socket is a file: %d, %s", status, refused.log)
	}
	if data, err := os.ReadFile(socket); err != nil || string(data) != "something else" {
		t.Errorf("the file became %q, %v", data, err)
	}
	// A socket elsewhere has a folder of its own, which sessions do not see, and only one server.
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(s.dir, "run", "admin.sock")
	s.replace("admin: {listen: 127.0.0.1:0}", "admin: {listen: 127.0.0.1:0, socket: "+elsewhere+"}")
	v = s.serve()
	if got := runTo(t, v.openssh(s.key, "web@127.0.0.1", "ls -A "+filepath.Dir(elsewhere))); got.stdout != "" {
		t.Errorf("a session sees %q", got.stdout)
	}
	if got := ttydrain(t, "ready", "unix:"+elsewhere); got.status != 0 || got.stdout != "ready\n" {
		t.Errorf("ready: %+v", got)
	}
	c, err := net.DialTimeout("unix", elsewhere, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /api/v1/sessions HTTP/1.1\r\nHost: anything\r\nAuthorization: Bearer x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || !bytes.Contains(got, []byte("401 Unauthorized")) {
		t.Errorf("who has no token is answered %q by the socket, %v", got, err)
	}
}

// TestAdminTLS: commands and health checks reach the admin server over TLS, with the configured
// authority only; the socket needs no TLS, and plain HTTP to another address than loopback is
// refused before anything is sent.
func TestAdminTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	folder := authority.Folder{Dir: filepath.Join(s.dir, "tls"), Now: time.Now()}
	if err := os.Mkdir(folder.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ca, err := folder.Make("test")
	if err != nil {
		t.Fatal(err)
	}
	if err := folder.Issue(ca, authority.Request{Name: "server", CommonName: "server", Hosts: []string{"127.0.0.1"}, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		t.Fatal(err)
	}
	plain := "admin: {listen: 127.0.0.1:0}"
	encrypted := fmt.Sprintf("admin: {listen: 0.0.0.0:0, tls: {cert_file: %q, key_file: %q}}", folder.Path("server.pem"), folder.Path("server.key"))
	s.replace(plain, encrypted)
	v := s.launch()
	v.listens()
	_, port, err := net.SplitHostPort(v.admin)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{"sessions", "list", "-c", s.config}
	at, trusted := "127.0.0.1:"+port, []string{"--admin-ca", folder.Path(authority.CertFile)}
	for _, test := range []struct {
		args []string
		says string // on standard error; "" for success
	}{
		{list, ""},
		{append(append(list, "--admin", "https://"+at), trusted...), ""},
		{append([]string{"tail", "-c", s.config, "--no-follow", "--admin", "https://" + at}, trusted...), ""},
		{append(list, "--admin", "https://"+at), "unknown authority"},
		{append(append(list, "--admin", "https://localhost:"+port), trusted...), "localhost"},
		{append(list, "--admin", at), "Bad Request"},
		{append([]string{"ready", "https://" + at + "/readyz"}, trusted...), ""},
		{[]string{"ready", "https://" + at + "/readyz"}, "unknown authority"},
		{[]string{"ready", "192.0.2.7:" + port}, "plain HTTP to another machine is refused"},
		{[]string{"ready", "http://192.0.2.7:" + port + "/readyz"}, "plain HTTP to another machine is refused"},
		{append(list, "--admin", "192.0.2.7:"+port), "plain HTTP to another machine is refused"},
		{append(list, "--admin", "http://ops.example.com"), "plain HTTP to another machine is refused"},
	} {
		got := ttydrain(t, test.args...)
		if (got.status == 0) != (test.says == "") || !strings.Contains(got.stderr, test.says) {
			t.Errorf("%q: %+v, want %q", test.args, got, test.says)
		}
	}
	// The authority can stand in the configuration.
	s.replace("admin: {", fmt.Sprintf("admin: {ca_file: %q, ", folder.Path(authority.CertFile)))
	if got := ttydrain(t, append(list, "--admin", "https://"+at)...); got.status != 0 {
		t.Errorf("with ca_file: %+v", got)
	}
	if status := v.stop(); status != 0 || strings.Contains(v.log.String(), "without TLS") {
		t.Errorf("serve with TLS ended with %d, and says\n%s", status, v.log)
	}
	open := newSite(t)
	open.replace(plain, "admin: {listen: 0.0.0.0:0}")
	if got := ttydrain(t, "check", "-c", open.config); got.status != 1 || !strings.Contains(got.stderr, ": admin.listen: ") || !strings.Contains(got.stderr, "[E404]") {
		t.Errorf("check of plain HTTP on all addresses: %+v", got)
	}
	open.replace("admin: {listen: 0.0.0.0:0}", "admin: {listen: 0.0.0.0:0, tls: none}")
	if got := ttydrain(t, "check", "-c", open.config); got.status != 0 || !strings.Contains(got.stderr, "WARNING: ") || !strings.Contains(got.stderr, "[E404]") {
		t.Errorf("check of plain HTTP that is intended: %+v", got)
	}
	v = open.launch()
	v.listens()
	if status := v.stop(); status != 0 || !strings.Contains(v.log.String(), "can be reached from other machines without TLS") {
		t.Errorf("serve on all addresses without TLS ended with %d, and says\n%s", status, v.log)
	}
}

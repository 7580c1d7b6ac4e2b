package syslogtest

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ttydrain/ttydrain/sinks/porttest"
)

// The queues are direct: what rsyslog has read is in its file before it reads on, so that a killed
// one has lost nothing of it. Sizes are as installed.
const rsyslogConfig = `global(
  workDirectory=%[1]q
  defaultNetstreamDriver="ossl"
  defaultNetstreamDriverCAFile=%[2]q
  defaultNetstreamDriverCertFile=%[3]q
  defaultNetstreamDriverKeyFile=%[4]q
)
main_queue(queue.type="Direct")
template(name="message" type="list" option.jsonf="on") {
  property(outname="raw" name="rawmsg" format="jsonf")
  property(outname="pri" name="pri" format="jsonf")
  property(outname="hostname" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="procid" name="procid" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="sd" name="structured-data" format="jsonf")
  property(outname="msg" name="msg" format="jsonf")
}
ruleset(name="messages" queue.type="Direct") {
  action(type="omfile" file=%[5]q template="message")
}
`

const tcpInput = `
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode=%[1]q)
input(type="imtcp" address=%[2]q port=%[3]q ruleset="messages")
`

const relpInput = `
module(load="imrelp" tls.tlslib=%[4]q)
input(type="imrelp" address=%[2]q port=%[3]q ruleset="messages" tls="on" %[1]s
  tls.caCert=%[5]q tls.myCert=%[6]q tls.myPrivKey=%[7]q)
`

// StartRsyslog starts rsyslogd with TLS by OpenSSL. It takes both framings.
func StartRsyslog(t testing.TB, o Options) *Server {
	t.Helper()
	requireModule(t, "lmnsd_ossl.so", "install rsyslog and rsyslog-openssl")
	return startRsyslog(t, func(s *Server) string {
		authMode := "anon"
		if o.RequireClientCert {
			authMode = "x509/certvalid"
		}
		host, port, _ := net.SplitHostPort(s.Address)
		return rsyslogOutput(s) + fmt.Sprintf(tcpInput, authMode, host, port)
	})
}

// StartRELP starts rsyslogd with RELP over TLS, by the library "openssl" or "gnutls".
func StartRELP(t testing.TB, o Options, library string) *Server {
	t.Helper()
	requireModule(t, "imrelp.so", "install rsyslog and rsyslog-relp")
	return startRsyslog(t, func(s *Server) string {
		authMode := ""
		if o.RequireClientCert {
			authMode = `tls.authMode="certvalid"`
		}
		host, port, _ := net.SplitHostPort(s.Address)
		return rsyslogOutput(s) + fmt.Sprintf(relpInput, authMode, host, port, library, s.CAFile, s.ServerCertFile, s.ServerKeyFile)
	})
}

// StartRsyslogWith starts rsyslogd with the configuration that text returns for the server's
// certificates and address. It needs both TLS by OpenSSL and RELP.
func StartRsyslogWith(t testing.TB, text func(s *Server) string) *Server {
	t.Helper()
	requireModule(t, "lmnsd_ossl.so", "install rsyslog and rsyslog-openssl")
	requireModule(t, "imrelp.so", "install rsyslog and rsyslog-relp")
	return startRsyslog(t, text)
}

// requireModule skips or fails the test where rsyslog lacks a module.
func requireModule(t testing.TB, module, remedy string) {
	t.Helper()
	if found, _ := filepath.Glob("/usr/lib*/*/rsyslog/" + module); len(found) > 0 {
		return
	}
	if found, _ := filepath.Glob("/usr/lib*/rsyslog/" + module); len(found) == 0 {
		absent(t, "rsyslog's "+module, remedy)
	}
}

// rsyslogOutput returns the configuration but for the input.
func rsyslogOutput(s *Server) string {
	return fmt.Sprintf(rsyslogConfig, filepath.Dir(s.output), s.CAFile, s.ServerCertFile, s.ServerKeyFile, s.output)
}

func startRsyslog(t testing.TB, text func(s *Server) string) *Server {
	t.Helper()
	path, ok := program("rsyslogd")
	if !ok {
		absent(t, "rsyslogd", "install rsyslog")
	}
	dir := t.TempDir()
	s := &Server{
		Certificates: NewCertificates(t), Address: porttest.Reserve(t), name: "rsyslog",
		output: filepath.Join(dir, "messages.json"), log: filepath.Join(dir, "server.log"),
	}
	config := writeConfig(t, dir, text(s))
	s.command = func() *exec.Cmd { return exec.Command(path, "-n", "-iNONE", "-f", config) }
	return start(t, s)
}

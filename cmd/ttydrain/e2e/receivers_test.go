package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ttydrain/ttydrain/sinks/syslog/syslogtest"
)

// documentedBlock returns the code block of a page with an info string.
func documentedBlock(t testing.TB, page, info string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range codeBlocks.FindAllStringSubmatch(string(text), -1) {
		if block[1] == info {
			return block[2]
		}
	}
	t.Fatalf("%s has no block %q", page, info)
	return ""
}

// replaceAll replaces texts, each of which must be there.
func replaceAll(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in\n%s", pairs[i], text)
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// TestDocumentedSyslogReceivers sends a session to rsyslog and syslog-ng with the configurations of
// the page on syslog, changed only in the addresses, the folders and the certificates, and audits
// the files that they write.
func TestDocumentedSyslogReceivers(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	address := func(s *syslogtest.Server) (host, port string) {
		host, port, _ = net.SplitHostPort(s.Address)
		return host, port
	}
	rsyslog := func(name, info, port string) *syslogtest.Server {
		return syslogtest.StartRsyslogWith(t, func(s *syslogtest.Server) string {
			host, own := address(s)
			return replaceAll(t, documentedBlock(t, "syslog.md", info), "0.0.0.0", host, `port="`+port+`"`, `port="`+own+`"`,
				"/etc/rsyslog.d/tls/ca.pem", s.CAFile, "/etc/rsyslog.d/tls/server.pem", s.ServerCertFile,
				"/etc/rsyslog.d/tls/server.key", s.ServerKeyFile, "/var/log/ttydrain", filepath.Join(folder, name))
		})
	}
	servers := map[string]*syslogtest.Server{
		"rsyslog": rsyslog("rsyslog", "rsyslog tls", "6514"),
		"relp":    rsyslog("relp", "rsyslog relp", "2514"),
		"syslog-ng": syslogtest.StartSyslogNGWith(t, func(s *syslogtest.Server) string {
			host, own := address(s)
			return replaceAll(t, documentedBlock(t, "syslog.md", "syslog-ng tls"), "0.0.0.0", host, "port(6514)", "port("+own+")",
				"/etc/syslog-ng/tls/server.pem", s.ServerCertFile, "/etc/syslog-ng/tls/server.key", s.ServerKeyFile,
				"/var/log/ttydrain", filepath.Join(folder, "syslog-ng"))
		}),
	}
	var entries []string
	for name, s := range servers {
		more := ""
		if name == "relp" {
			more = ", protocol: relp"
		}
		entries = append(entries, fmt.Sprintf("{name: %s, type: syslog, address: %q, ca_file: %q, exact: true%s}", name, s.Address, s.CAFile, more))
	}
	v := newSite(t, withoutRaces, withDrains(entries...)).serve()
	got := runTo(t, v.openssh(v.site.key, "web@127.0.0.1", "echo documented receivers"))
	operation := operationOf(t, []byte(got.stderr))
	for name := range servers {
		var file string
		await(t, "for the end of the session in the file of "+name, func() bool {
			files, _ := filepath.Glob(filepath.Join(folder, name, "20??-??-??.log"))
			if len(files) == 0 {
				return false
			}
			file = files[len(files)-1]
			text, err := os.ReadFile(file)
			return err == nil && strings.Contains(string(text), " "+operation+" end ")
		})
		r := runTo(t, exec.Command(v.site.program, "audit", "--from", file, "--operation", operation, "-c", v.site.config))
		if r.status != 0 || !strings.Contains(r.stdout, "bytes, texts") {
			t.Errorf("the audit of %s: status %d\n%s%s", name, r.status, r.stdout, r.stderr)
		}
	}
}

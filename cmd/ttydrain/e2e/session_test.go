package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// testFile returns a file of testdata/session.
func testFile(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/session/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// TestSession works in a shell, with OpenSSH's client in a real terminal: every byte of the output
// is in every drain, and nothing that was typed without echo is anywhere.
func TestSession(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"ssh", "python3", "ssh-keygen"} {
		need(t, program)
	}
	drains := allDrains(t)
	v := newSite(t, entries(drains), withEnv("SCREEN", testFile(t, "screen.py"))).serve()
	shell := inTerminal(t, v.openssh(v.site.key, "web@127.0.0.1"))
	shell.expect(prompt)

	shown := "shown-" + rand.Text()
	shell.do("echo " + shown)
	shell.do("mkdir folder; touch file; ln -s file link; ls --color")
	shell.do(`echo "naïve — 漢字 — 🙂"; printf 'no UTF-8: \377\376\n'`)

	shell.press("python3 -c \"$SCREEN\"\r")
	shell.expect("a screen of 100 by 30")
	shell.press("xq")
	shell.expect(prompt)

	shell.resize(132, 43)
	shell.press(`until [ "$(stty size)" = "43 132" ]; do :; done; echo "the size is $(stty size)"` + "\r")
	shell.expect("the size is 43 132")
	shell.expect(prompt)

	// Each of the three secrets proves that it arrived. The prompts are not in the command lines,
	// whose echo would be mistaken for them.
	read, getpass, passphrase := newSecret(), newSecret(), newSecret()
	shell.press("IFS= read -r -s -p 'fir''st: ' S; echo; printf %s \"$S\" | sha256sum\r")
	shell.expect("first: ")
	shell.press(read + "\r")
	shell.expect(sumOf(read))
	shell.expect(prompt)
	shell.press("python3 -c 'import getpass, hashlib; print(hashlib.sha256(getpass.getpass(\"sec\" \"ond: \").encode()).hexdigest())'\r")
	shell.expect("second: ")
	shell.press(getpass + "\r")
	shell.expect(sumOf(getpass))
	shell.expect(prompt)
	shell.press("ssh-keygen -q -t ed25519 -C '' -f key\r")
	shell.expect("Enter passphrase")
	shell.press(passphrase + "\r")
	shell.expect("Enter same passphrase again: ")
	shell.press(passphrase + "\r")
	shell.expect(prompt)
	shell.press("ssh-keygen -y -f key\r")
	shell.expect("Enter passphrase")
	shell.press(passphrase + "\r")
	shell.expect("\nssh-ed25519 ")
	shell.expect(prompt)

	awaitAuditRuns(t, v, operationOf(t, shell.sofar()))
	shell.press("exit 7\r")
	bytesShown, status := shell.wait()
	if status != 7 {
		t.Errorf("exit status %d", status)
	}
	operation := operationOf(t, bytesShown)
	for what, sequence := range map[string]string{"ls's colours": "\x1b[01;34mfolder", "the full screen": "\x1b[?1049h"} {
		if !bytes.Contains(bytesShown, []byte(sequence)) {
			t.Errorf("the client did not show %s", what)
		}
	}

	for _, d := range drains {
		s := d.transcript(t, operation)
		if d.exact {
			mustBe(t, d.name, "the session", s.shown, bytesShown)
		}
		if !s.contains(shown) || !s.contains("naïve — 漢字 — 🙂") {
			t.Errorf("drain %s: the texts do not have what was shown", d.name)
		}
		if got := s.records[0]; got.Width != 100 || got.Height != 30 {
			t.Errorf("drain %s: the start tells %d by %d", d.name, got.Width, got.Height)
		}
		if got := s.events("resize"); len(got) != 1 || got[0].Width != 132 || got[0].Height != 43 {
			t.Errorf("drain %s: not one window change to 132 by 43: %+v", d.name, got)
		}
		if s.end.Reason != "exit" || s.end.ExitStatus == nil || *s.end.ExitStatus != 7 {
			t.Errorf("drain %s: the end: %+v", d.name, s.end)
		}
		if offset, err := strconv.Atoi(s.end.Offset); err != nil || offset != len(bytesShown) {
			t.Errorf("drain %s: the end is at %s, and %d bytes were shown", d.name, s.end.Offset, len(bytesShown))
		}
	}

	mustBeValid(t, drains[0].arrived(t, 0))
	auditCopies(t, v, drains, operation)

	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
	secrets := map[string]string{"read -s": read, "getpass": getpass, "ssh-keygen": passphrase}
	search := func(stacks []haystack) (hasShown bool) {
		for _, h := range stacks {
			hasShown = hasShown || bytes.Contains(h.data, []byte(shown))
			for from, secret := range secrets {
				if form := findSecret(h.data, secret); form != "" {
					t.Errorf("%s: the secret of %s is there (%s)", h.name, from, form)
				}
			}
		}
		return hasShown
	}
	// The output is found, which proves that the search works.
	for _, d := range drains {
		for _, h := range haystacksOf(t, d, operation) {
			if !search([]haystack{h}) {
				t.Errorf("%s: what was shown is not there", h.name)
			}
		}
	}
	if !search(storedFiles(t, v.site)) {
		t.Error("the store has nothing of what was shown")
	}
	if search([]haystack{{"serve's log", []byte(v.log.String())}}) {
		t.Error("serve's log has what the session showed")
	}
}

// mustBeValid validates records with the schema that ttydrain prints.
func mustBeValid(t testing.TB, records []record) {
	t.Helper()
	schema, err := compileSchema([]byte(ttydrain(t, "schema", "record").stdout))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(r.Whole))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("a record that is not of the schema: %v\n%s", err, r.Whole)
		}
	}
}

package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/ttydrain/ttydrain/pipeline/operate"
)

// refusingDrain is a drain to a server that refuses the requests in which one of the texts occurs,
// and accepts the others. Without texts it refuses all requests.
func refusingDrain(t testing.TB, name string, status int, body string, texts ...string) (entry string) {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client closed the connection
		}
		if len(texts) > 0 && !slices.ContainsFunc(texts, func(text string) bool { return bytes.Contains(request, []byte(text)) }) {
			return
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("{name: %s, type: https, url: %q, ca_file: %q}", name, s.URL+"/logs", ca)
}

// TestConsole uses the console in a Chromium: it logs in, replays a session, watches another one
// live and ends it, sees a failing drain, pauses, resumes and tests it, and looks at dead letters.
// All of it at the size of a desktop and of a phone, light and dark; some of it with the keyboard
// only.
func TestConsole(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	good := httpsDrain(t, "siem", ", format: ndjson")
	site := newSite(t, withoutRaces, withDrains(good.entry,
		refusingDrain(t, "billing", http.StatusUnauthorized, "who are you?"),
		refusingDrain(t, "picky", http.StatusBadRequest, "a field is missing", "all green", "anybody watched")))
	v := site.serve()
	host := v.admin
	at := "http://" + host + "/console/"

	// A session of the past, with colours, a character of three bytes and one of four, a progress
	// bar and another size.
	past := inTerminal(t, v.openssh(site.key, "web@127.0.0.1"))
	past.expect(prompt)
	past.do(`printf '\033[1;32mall green\033[0m – ✓ 𝟙\n'; for i in 1 2 3; do printf '\rmigrating %d/3' $i; sleep 0.1; done; echo`)
	past.press("exit 3\r")
	shown, _ := past.wait()
	operation := operationOf(t, shown)
	good.transcript(t, operation)

	// One that goes on.
	shell := inTerminal(t, v.openssh(site.key, "web@127.0.0.1"))
	shell.expect(prompt)
	shell.do("echo before anybody watched")

	// There is no access without the token.
	b.size(1280, 860, false)
	b.scheme("light")
	b.do(chromedp.Navigate(at))
	b.shows("Admin token")
	b.picture("login")
	b.forget() // that /console/me answers 401
	b.do(chromedp.SendKeys("#name", "Grace Hopper"), chromedp.SendKeys("#token", "not the token"))
	b.press(kb.Enter)
	b.shows("This is not the admin token")
	b.forget()
	token, err := os.ReadFile(filepath.Join(site.store, "admin_token"))
	if err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.SendKeys("#token", strings.TrimSpace(string(token))))
	b.press(kb.Enter)
	b.shows("1 session running")
	b.quiet("logging in", host)
	accessible(b, "the list of sessions")
	b.click("fieldset label:last-child input")
	b.shows("2 sessions")
	b.picture("sessions-desktop")
	for _, search := range []struct{ words, shows string }{{"lovelace nonsense", "No session matches the search"}, {"ADA@example ended", "1 session"}} {
		b.do(chromedp.SetValue("#search", search.words), chromedp.Focus("#search"))
		b.press(kb.Enter)
		b.shows(search.shows)
	}

	// The past session is played to its end, with its screen.
	b.click("a[href='#/sessions/" + operation + "']")
	b.shows("End reason")
	b.until("the player to show the session", played("all green – ✓ 𝟙", "migrating 3/3"))
	b.picture("replay-desktop")
	accessible(b, "a session of the past")
	b.size(390, 844, true)
	b.scheme("dark")
	fits(b, "a session on a phone")
	b.picture("replay-phone")
	accessible(b, "a session on a phone, in the dark")
	b.do(chromedp.Click("details summary"))
	b.until("the text", `document.querySelector("details pre").textContent.includes("all green – ✓ 𝟙")`)
	b.quiet("replaying", host)

	// With the keyboard only: to the running session, to watch it live, and to end it.
	b.size(1280, 860, false)
	b.script("document.activeElement.blur()")
	b.press("gs")
	b.shows("1 session running")
	b.press("j")
	b.press(kb.Enter)
	b.until("what was before", played("before anybody watched"))
	shell.do("echo and this is $((40+2)) live")
	b.until("what is live", played("and this is 42 live"))
	b.picture("live-desktop-dark")
	b.press("x")
	b.shows("All of its processes end with it")
	accessible(b, "the dialog that ends a session")
	b.picture("kill-desktop-dark")
	b.script(`document.querySelector("#reason").value = ""`) // the driver types the key in any case is typed, too, whatever the page makes of it
	b.press("the incident is over")
	b.press(kb.Enter)
	told, status := shell.wait()
	if status != 128+9 || !strings.Contains(string(told), "this session was ended by Grace Hopper (by the admin token, in the console): the incident is over") {
		t.Errorf("the session that was ended in the console: status %d, %q", status, told[max(0, len(told)-300):])
	}
	b.shows("The session has ended: killed.")
	b.quiet("watching and ending a session", host)

	// The drains: one fails, with the reason and the advice. Another refuses records of both
	// sessions.
	good.awaitEnds(t, operation, operationOf(t, told))
	b.press("gd")
	b.shows("refuses the credentials")
	b.until("the dead letters, and no more to come", `[...document.querySelectorAll("article")].some(a => a.innerText.includes("picky") &&
		/Undelivered\s+0 records/.test(a.innerText) && /Dead letters\s+[1-9]/.test(a.innerText))`)
	b.scheme("light")
	b.picture("drains-desktop")
	accessible(b, "the drains")
	b.click("article:nth-child(2) button[data-does=test]")
	b.shows("The drain did not accept the test record")
	b.shows("Do: ")
	b.picture("drain-test-desktop")
	accessible(b, "the test of a drain")
	b.size(390, 844, true)
	fits(b, "the drains on a phone")
	b.script("scrollTo(0, 0)")
	b.picture("drains-phone")
	b.scheme("dark")
	accessible(b, "the drains on a phone, in the dark")
	b.picture("drains-phone-dark")
	b.size(1280, 860, false)
	b.script("document.activeElement.blur()")
	for _, state := range []string{"paused", "delivering"} { // by the keyboard
		b.script("document.activeElement.blur()")
		b.press("jp")
		b.until("the drain to be "+state, fmt.Sprintf(`document.querySelector("article .badge").textContent === %q`, state))
	}
	b.quiet("the drains", host)

	// Dead letters.
	b.click("article:nth-child(3) dd a")
	b.shows("answered 400 Bad Request")
	before := len(v.letters("picky"))
	if before < 2 {
		t.Fatalf("%d dead letters: one is discarded and another is delivered again", before)
	}
	b.picture("deadletters-desktop-dark")
	accessible(b, "the dead letters")
	b.do(chromedp.Click("tbody tr:first-child button[aria-label^=Show]"))
	b.shows("APTIBLE_USER_DOCUMENT")
	b.picture("deadletter-desktop-dark")
	b.press(kb.Escape)
	b.do(chromedp.Click("tbody tr:first-child button[aria-label^=Discard]"))
	b.shows("will never receive record")
	b.do(chromedp.Click("dialog button.danger"))
	await(t, "for the dead letter to be gone", func() bool { return len(v.letters("picky")) == before-1 })
	b.quiet("the dead letters", host)
	b.do(chromedp.Click("tbody tr:first-child button[aria-label^=Redeliver]"))
	b.shows("redeliver to drain")
	b.forget() // that it answers 502
	b.size(390, 844, true)
	fits(b, "the dead letters on a phone")
	b.picture("deadletters-phone-dark")
	b.press("?")
	b.shows("Keyboard shortcuts")
	fits(b, "the shortcuts on a phone")
	accessible(b, "the shortcuts on a phone")
	b.picture("keys-phone-dark")
	b.press(kb.Escape)

	// After the logout nothing is shown.
	b.do(chromedp.Click("#logout button"))
	b.shows("Admin token")
	if status := eval[int](b, `fetch("/api/v1/sessions").then(r => r.status)`); status != http.StatusUnauthorized {
		t.Errorf("who has logged out is answered %d", status)
	}

	// The log has the operator and the sessions that were watched, and nothing of their output.
	log := v.log.String()
	for _, deed := range []string{"replayed a session", "read a session", "watched a session", "requested the end of sessions", "tested a drain", "paused a drain",
		"resumed a drain", "viewed a dead letter", "discarded a dead letter", "redelivered a dead letter"} {
		if !slices.ContainsFunc(strings.Split(log, "\n"), func(line string) bool {
			return strings.Contains(line, `"did":"`+deed+`"`) && strings.Contains(line, `"who":"Grace Hopper (by the admin token, in the console)"`)
		}) {
			t.Errorf("the log does not say who %s", deed)
		}
	}
	for _, content := range []string{"all green", "anybody watched", "APTIBLE_USER_DOCUMENT", string(token)} {
		if strings.Contains(log, content) {
			t.Errorf("the log has %q in it", content)
		}
	}
	if status := v.stop(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}

// TestConsoleLink logs in with the link of `ttydrain console` in a browser: once, without the token
// in the address bar or in the log.
func TestConsoleLink(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	site := newSite(t)
	v := site.serve()
	link := strings.TrimSpace(ttydrain(t, "console", "-c", site.config, "--name", "Grace Hopper").stdout)
	_, secret, ok := strings.Cut(link, "/console/link#")
	if !ok {
		t.Fatalf("the link is %q", link)
	}
	b.size(390, 844, true)
	b.do(chromedp.Navigate(link))
	b.shows("This link logs you in")
	accessible(b, "the page of a login link")
	fits(b, "the page of a login link")
	b.picture("link-phone")
	if at := eval[string](b, "location.href"); strings.Contains(at, secret) {
		t.Errorf("the address bar shows %s", at)
	}
	b.press(kb.Enter)
	b.shows("Grace Hopper")
	b.quiet("logging in with a link", v.admin)
	b.do(chromedp.Navigate(link))
	b.shows("This link logs you in")
	b.click("button")
	b.shows("This login link has been used")
	if log := v.log.String(); strings.Contains(log, secret) || strings.Contains(log, "/console/link#") || !strings.Contains(log, `"way":"link"`) {
		t.Errorf("the log:\n%s", log)
	}
}

// TestServeOnTerminal: on a terminal, serve prints a login link with its addresses and drains.
func TestServeOnTerminal(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	serve := inTerminal(t, exec.Command(site.program, "serve", "-c", site.config))
	for _, text := range []string{"has started", "SSH", "Console", "/console/link#", "logs in once, until 20"} {
		serve.expect(text)
	}
	serve.press("\x03")
	if _, status := serve.wait(); status != 0 {
		t.Errorf("serve ended with %d", status)
	}
}

// letters returns the dead letters of a drain.
func (v *server) letters(drain string) (list []operate.Letter) {
	v.site.t.Helper()
	if err := json.Unmarshal(v.operate("deadletters", "list", "--drain", drain), &list); err != nil {
		v.site.t.Fatal(err)
	}
	return list
}

// played checks that the player shows some texts.
func played(texts ...string) string {
	list, _ := json.Marshal(texts)
	return fmt.Sprintf(`%s.every(text => (document.querySelector(".ap-term")?.textContent ?? "").replaceAll("\u00a0", " ").includes(text))`, list)
}

// fits fails if a page is wider than the window.
func fits(b *browser, what string) {
	b.t.Helper()
	if over := eval[int](b, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
		b.t.Errorf("%s: the page is %d pixels too wide", what, over)
	}
}

// axe returns the script that finds accessibility problems.
var axe = sync.OnceValues(func() (string, error) {
	f, err := os.Open("testdata/axe/axe.min.js.gz")
	if err != nil {
		return "", err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", err
	}
	script, err := io.ReadAll(z)
	return string(script), err
})

// accessible fails if axe-core finds a problem.
func accessible(b *browser, what string) {
	b.t.Helper()
	source, err := axe()
	if err != nil {
		b.t.Fatal(err)
	}
	if !eval[bool](b, "typeof axe === 'object'") {
		b.script(source)
	}
	// The player marks its own elements.
	found := eval[[]string](b, `axe.run({exclude: [[".ap-wrapper"]]}).then(r => r.violations.flatMap(v => v.nodes.map(n => v.id + ": " + n.html.slice(0, 200) + " " + n.failureSummary)))`)
	for _, one := range found {
		b.t.Errorf("%s: not accessible: %s", what, one)
	}
}

package e2e

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestConsoleHelp reads the documentation in the console, without a login: the list of pages, a
// search, the section that it found, and a page on a phone.
func TestConsoleHelp(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	v := newSite(t, withoutRaces).serve()
	at := "http://" + v.admin + "/console/help/"

	b.size(1280, 860, false)
	b.scheme("light")
	b.do(chromedp.Navigate(at))
	b.shows("Record a first session in five minutes")
	b.picture("help-desktop")
	accessible(b, "the list of pages")
	b.do(chromedp.SendKeys("#q", "relp confirm"))
	b.press(kb.Enter)
	b.shows("the best first")
	b.picture("help-search-desktop")
	accessible(b, "a search")
	b.click("a[href='/console/help/syslog#relp']")
	b.until("the section at the top of the window", `location.hash === "#relp" && document.querySelector("#relp").getBoundingClientRect().top < innerHeight`)
	b.picture("help-page-desktop")
	b.script("scrollTo(0, 0)")
	b.picture("help-top-desktop")
	accessible(b, "a page")

	b.size(390, 844, true)
	b.scheme("dark")
	for _, topic := range []string{"", "configuration-reference", "observe", "syslog", "elasticsearch"} {
		b.do(chromedp.Navigate(at + topic))
		fits(b, "the help on a phone: "+topic)
		b.picture("help-" + topic + "-phone")
	}
	accessible(b, "a page on a phone, in the dark")
	b.quiet("reading the help", v.admin)
}

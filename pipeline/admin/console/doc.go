// Package console is ttydrain's console for people: pages on the admin address below /console/, and
// who may use them.
//
// The pages are static and hold nothing: what they show, they get from the admin API (/api/v1/), as
// commands do. A browser shows no token there. It is let in by [Console.Who], which knows three
// ways to say who somebody is:
//
//   - the admin token, typed into a form, for which a cookie is given;
//   - OpenID Connect (OpenID Connect Core 1.0, the code flow with PKCE of RFC 7636), for which the same cookie is given;
//   - a header that a proxy sets, which is believed from the proxy's addresses alone. No cookie is given.
//
// # From where
//
// Without [Options.URL] the console answers to this machine alone: the connection has to come from
// a loopback address, and the request has to be for one, so that no page from elsewhere gets in by
// a name that it points here (DNS rebinding). With a URL it answers to requests for that URL's
// host, wherever they come from.
//
// # Other sites
//
// The cookie is HttpOnly and SameSite=Strict. What changes something is refused where the browser
// says that another origin wants it (Sec-Fetch-Site, or else Origin), and so is what reads; no page
// may be framed; no script, style, font or image comes from elsewhere or from within a page
// (Content-Security-Policy).
//
// # What is not guaranteed
//
// Cookies do not know ports (RFC 6265 §8.5): whoever serves on another port of the console's host
// gets the cookie of somebody who goes there. Who has logged in stays logged in for twelve hours or
// until this process ends, also where the OpenID provider would let them in no more. A token is as
// good as its keeping: what people call themselves beside it is their own word.
package console

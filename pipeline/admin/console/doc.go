// Package console implements the web console: pages on the admin address below /console/, and the
// authentication of their users.
//
// The pages are static. They get their data from the admin API (/api/v1/), like the commands.
// Browsers do not send the token to the API; [Console.Identify] authenticates their requests in one
// of four ways:
//
//   - The admin token, entered in a form, which sets a cookie.
//   - A login link, which a caller with the admin token requests: see [Console.NewLink]. It sets
//     the same cookie.
//   - OpenID Connect (OpenID Connect Core 1.0, the code flow with PKCE of RFC 7636), which sets the
//     same cookie.
//   - A header set by a proxy, which is accepted from the proxy's addresses only. It sets no
//     cookie.
//
// # Access by address
//
// Without [Options.URL] the console only serves this machine: the connection must come from a
// loopback address, and the request must be for a loopback host, so that other sites cannot gain
// access through a DNS name that points here (DNS rebinding). With a URL it serves requests for the
// URL's host from any address.
//
// # Other sites
//
// The cookie is HttpOnly and SameSite=Strict. Requests that the browser attributes to another
// origin (Sec-Fetch-Site, or else Origin) are refused, whether they read or write. Pages cannot be
// framed, and scripts, styles, fonts and images are neither inline nor from elsewhere
// (Content-Security-Policy).
//
// # Limitations
//
// Cookies are not separated by port (RFC 6265 §8.5): a server on another port of the console's host
// receives the cookies of users who visit it. A login lasts twelve hours or until this process
// ends, even if the OpenID provider revokes the user's access. With the admin token
// or a login link, the user's name is self-declared.
package console

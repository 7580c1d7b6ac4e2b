package probe

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

func parse(c *tls.Certificate) []*x509.Certificate {
	var chain []*x509.Certificate
	for _, der := range c.Certificate {
		if one, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, one)
		}
	}
	return chain
}

func certificates(chain []*x509.Certificate) []Certificate {
	var list []Certificate
	for _, c := range chain {
		list = append(list, Certificate{
			Subject: Printable(c.Subject.String()), Issuer: Printable(c.Issuer.String()),
			NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), DaysLeft: daysLeft(time.Until(c.NotAfter)),
		})
	}
	return list
}

// daysLeft returns the number of whole days; negative after the end.
func daysLeft(left time.Duration) int {
	days := int(left / (24 * time.Hour))
	if left < 0 {
		days-- // since a division rounds to zero
	}
	return days
}

// Validity describes when the certificate ends or has ended: "8 days left", "expired yesterday".
func (c Certificate) Validity() string {
	switch days := c.DaysLeft; days {
	case 1:
		return "1 day left"
	case 0:
		return "less than a day left"
	case -1:
		return "expired less than a day ago"
	case -2:
		return "expired yesterday"
	default:
		if days < 0 {
			return fmt.Sprintf("expired %d days ago", -days-1)
		}
		return fmt.Sprintf("%d days left", days)
	}
}

// Invalid describes why a certificate is not valid now: "expired yesterday, on 2026-03-01".
func Invalid(c *x509.Certificate, now time.Time) string {
	if now.Before(c.NotBefore) {
		return "is valid only from " + c.NotBefore.UTC().Format(time.DateTime) + " UTC on"
	}
	return Certificate{DaysLeft: daysLeft(c.NotAfter.Sub(now))}.Validity() + ", on " + c.NotAfter.UTC().Format(time.DateOnly)
}

// names returns a few of the names that a certificate is for.
func names(c *x509.Certificate) string {
	const maxNames = 5
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) > maxNames {
		all = append(all[:maxNames], fmt.Sprintf("and %d more", len(all)-maxNames))
	}
	if len(all) == 0 {
		return "no host name"
	}
	return strings.Join(all, ", ")
}

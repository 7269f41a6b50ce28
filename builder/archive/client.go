// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// Client downloads files from Debian archives: from mirrors at http, https, file or copy URLs. Cache is required, and
// so is Keyring unless NoCheck is set; the other fields may be zero. Several goroutines may use a Client at once.
type Client struct {
	// Mirrors are those of each archive that has several, which are asked in turn. Copies of a Client share them.
	Mirrors []*Mirrors
	// HTTP makes the requests; NewHTTPClient returns a suitable one. nil stands for http.DefaultClient.
	HTTP *http.Client
	// Cache keeps packages and indexes from one run to the next.
	Cache *Cache
	// Keyring has the trusted keys, one of which must have signed a Release file.
	Keyring openpgp.EntityList
	// UserKeyring says that a user chose the Keyring: each key in it may sign every suite. Otherwise Debian's and Ubuntu's
	// keys sign the suites of their own releases only.
	UserKeyring bool
	// AllowExpired accepts a Release file past its Valid-Until, as apt's Acquire::Check-Valid-Until=false does. Its
	// signature is checked.
	AllowExpired bool
	// NoCheck accepts any Release file, signed or not. Checksums are still compared.
	NoCheck bool
	// Now is the time that Valid-Until of a Release file and its signatures are compared with; the zero time
	// accepts old and future ones.
	Now time.Time
	// Today is compared with Valid-Until in place of Now, unless it is the zero time.
	Today time.Time
	// Snapshot is the time that a snapshot archive is asked for; the zero time for other archives. It takes the place of
	// Now and Today, but for the times of signatures, and a Release file must not be later.
	Snapshot time.Time
	// Warn receives a sentence for the user about each download that is tried again; nil discards them. Several
	// goroutines may call it at once.
	Warn func(text string)
	// States records the suites that are read, or holds the Client to those of a lock; nil does neither. The Cache keeps
	// their Release files.
	States *States
	// Parallel is the number of files downloaded at the same time; 0 stands for 8.
	Parallel int
	// Backoff is the pause before the second attempt at a download that failed for a transient reason. It doubles
	// before each further attempt. 0 stands for half a second.
	Backoff time.Duration

	signers []signer // nil for defaultSigners; tests use their own keys
}

const (
	defaultParallel = 8
	defaultBackoff  = 500 * time.Millisecond
	// attempts is the number of attempts at one download that bring nothing new. The default pauses give a mirror 3.5
	// seconds to recover.
	attempts = 4
	// leastProgress is how many more bytes of the file, after all those before, make an attempt count as the first one.
	leastProgress = 64 << 10
	// ratePeriod is how often the rate of a download is checked, from the request on. A mirror that sends less than
	// leastRate, in bytes per second, has failed.
	ratePeriod = 30 * time.Second
	leastRate  = 512
	// A download takes at most baseTime, and a second more for each meanRate bytes of the file, with all attempts.
	baseTime = 10 * time.Minute
	meanRate = 4 << 10
	// longestPause is the longest Retry-After of a server that is obeyed.
	longestPause = 2 * time.Minute
)

// NewHTTPClient returns a client for downloads of many files from one mirror, with timeouts on connections; Client
// limits the duration of a download. proxy is as in http.Transport, most often http.ProxyFromEnvironment; nil means
// none. roots are the certificates that servers are verified by; nil stands for those of the host.
func NewHTTPClient(proxy func(*http.Request) (*url.URL, error), roots *x509.CertPool) *http.Client {
	dialer := &net.Dialer{Timeout: 20 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Client{Transport: &http.Transport{
		Proxy:               proxy,
		DialContext:         dialer.DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots},
		TLSHandshakeTimeout: 20 * time.Second,
		MaxIdleConnsPerHost: 2 * defaultParallel, // the default of 2 would close most connections after each file
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true, // large files are compressed already, and checksums are of the bytes sent
	}}
}

func (c *Client) http() *http.Client {
	if c.HTTP == nil {
		return http.DefaultClient
	}
	return c.HTTP
}

func (c *Client) parallel() int {
	if c.Parallel < 1 {
		return defaultParallel
	}
	return c.Parallel
}

func (c *Client) warn(text string) {
	if c.Warn != nil {
		c.Warn(text)
	}
}

// backoff returns the pause before attempt n, which counts from 1. The first one follows progress.
func (c *Client) backoff(n int) time.Duration {
	backoff := c.Backoff
	if backoff == 0 {
		backoff = defaultBackoff
	}
	return backoff << max(n-2, 0)
}

// sleep waits, or returns why ctx has ended.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

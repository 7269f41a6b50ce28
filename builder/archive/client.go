// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// Client downloads files from Debian archives: from mirrors at http, https, file or copy URLs. Cache is required, and so is
// Keyring unless NoCheck is set; the other fields may be zero. A Client may be used by several
// goroutines at once.
type Client struct {
	// HTTP makes the requests; NewHTTPClient returns a suitable one. nil stands for http.DefaultClient.
	HTTP *http.Client
	// Cache keeps packages and indexes from one run to the next.
	Cache *Cache
	// Keyring has the trusted keys, one of which must have signed a Release file.
	Keyring openpgp.EntityList
	// UserKeyring says that a user chose the Keyring: each key in it may sign every suite. Otherwise Debian's
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
	// Log receives messages for developers; nil discards them.
	Log *slog.Logger
	// Parallel is the number of files downloaded at the same time; 0 stands for 8.
	Parallel int
	// Backoff is the pause before the second attempt at a download that failed for a transient reason. It doubles
	// before each further attempt. 0 stands for half a second.
	Backoff time.Duration

	signers []signer // nil for debianSigners; tests use their own keys
}

const (
	defaultParallel = 8
	defaultBackoff  = 500 * time.Millisecond
	// attempts is the number of attempts at one download. The default pauses give a mirror 3.5 seconds to recover.
	attempts = 4
	// stallTimeout is how long a download may receive nothing before it counts as failed.
	stallTimeout = time.Minute
)

// NewHTTPClient returns a client for downloads of many files from one mirror, with timeouts on everything but the
// duration of a download. proxy is as in http.Transport, most often http.ProxyFromEnvironment; nil means none. roots are
// the certificates that servers are verified by; nil stands for those of the host.
func NewHTTPClient(proxy func(*http.Request) (*url.URL, error), roots *x509.CertPool) *http.Client {
	dialer := &net.Dialer{Timeout: 20 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Client{Transport: &http.Transport{
		Proxy:                 proxy,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots},
		TLSHandshakeTimeout:   20 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		MaxIdleConnsPerHost:   2 * defaultParallel, // the default of 2 would close most connections after each file
		IdleConnTimeout:       90 * time.Second,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true, // large files are compressed already, and checksums are of the bytes sent
	}}
}

func (c *Client) http() *http.Client {
	if c.HTTP == nil {
		return http.DefaultClient
	}
	return c.HTTP
}

func (c *Client) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

func (c *Client) parallel() int {
	if c.Parallel < 1 {
		return defaultParallel
	}
	return c.Parallel
}

// pause waits before attempt n, which counts from 1; the first one starts at once.
func (c *Client) pause(ctx context.Context, n int) error {
	if n == 1 {
		return ctx.Err()
	}
	backoff := c.Backoff
	if backoff == 0 {
		backoff = defaultBackoff
	}
	timer := time.NewTimer(backoff << (n - 2))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
)

// Mirrors are the URLs of mirrors of one archive: what is asked of the first one, and fails, is asked of the others.
type Mirrors struct {
	urls    []string     // without trailing slashes
	answers atomic.Int32 // the index of the last one that had what was asked for, which is asked before the others
}

// NewMirrors returns mirrors of one archive: the first, by which its files are named, and others.
func NewMirrors(first string, others ...string) *Mirrors {
	m := &Mirrors{}
	for _, u := range append([]string{first}, others...) {
		m.urls = append(m.urls, mirrorURL(u))
	}
	return m
}

// mirrorURL returns the URL of a mirror in the form to which names of files are added.
func mirrorURL(text string) string {
	text = strings.TrimRight(text, "/")
	if path, ok := strings.CutPrefix(text, "copy:"); ok {
		return "file:" + path // apt copies packages from there, and so does the cache
	}
	return text
}

// askMirrors calls get with the URL of a file or directory. If that is on the first of some Mirrors, it calls get for
// each of these, until one succeeds. The error joins those of all.
//
// Mirrors may have different states of the archive. The caller compares each file with a signed checksum, and takes the
// Release file from one of them.
func (c *Client) askMirrors(ctx context.Context, url string, get func(url string) error) error {
	for _, m := range c.Mirrors {
		if path, ok := strings.CutPrefix(url, m.urls[0]+"/"); ok {
			return c.askEach(ctx, m, path, get)
		}
	}
	return get(url)
}

// askEach is askMirrors for the path of a file below the URLs of mirrors.
func (c *Client) askEach(ctx context.Context, m *Mirrors, path string, get func(url string) error) error {
	var errs []error
	first := int(m.answers.Load())
	for i := range m.urls {
		n := (first + i) % len(m.urls)
		err := get(m.urls[n] + "/" + path)
		if err == nil {
			m.answers.Store(int32(n))
			return nil
		}
		errs = append(errs, err)
		if _, ok := errors.AsType[*localError](err); ok || ctx.Err() != nil {
			break
		}
		if i+1 < len(m.urls) && !errors.Is(err, fs.ErrNotExist) {
			c.warn(fmt.Sprintf("%v: asking %s", err, Redact(m.urls[(n+1)%len(m.urls)])))
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"
)

// State is the Release file of a suite at one time. With the digests in that file it decides about all packages.
type State struct {
	// Mirror is the URL without credentials and a trailing slash, Suite the name by which the suite was asked for.
	Mirror, Suite string
	Codename      string
	Date          time.Time
	// Files are InRelease, or Release and its signature Release.gpg.
	Files []StateFile
	// SignedBy are the fingerprints of the keys whose signatures are good; none if they were not checked.
	SignedBy []string
}

// StateFile is one of the files of a State.
type StateFile struct {
	Name   string
	SHA256 string
}

// States are the suites that a Client has read, or those that it may read. Copies of a Client share them.
type States struct {
	mu    sync.Mutex
	fixed bool
	all   []State
}

// NewStates returns States that record what a Client reads.
func NewStates() *States { return &States{} }

// FixedStates returns States that hold a Client to what was recorded: it reads no other suite, and no other state of
// one.
func FixedStates(all []State) *States { return &States{fixed: true, all: all} }

// All returns the states in the order in which they were read.
func (s *States) All() []State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

// isFixed reports whether the Client may read nothing else; s may be nil.
func (s *States) isFixed() bool { return s != nil && s.fixed }

// record adds the state of a release, unless it is there.
func (s *States) record(r *Release) {
	state := State{Mirror: bareURL(r.Mirror), Suite: r.Name, Codename: r.Codename, Date: r.Date, SignedBy: r.signedBy}
	for _, f := range r.received {
		state.Files = append(state.Files, StateFile{f.name, f.digest})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.all, func(o State) bool { return o.Mirror == state.Mirror && o.Suite == state.Suite }) {
		s.all = append(s.all, state)
	}
}

// lookup returns the state of a suite of a mirror.
func (s *States) lookup(mirror, suite string) (State, error) {
	mirror = bareURL(mirror)
	for _, state := range s.all {
		if state.Mirror == mirror && state.Suite == suite {
			return state, nil
		}
	}
	return State{}, fmt.Errorf("the lock has no suite %q of %s: %w", suite, Redact(mirror), fs.ErrNotExist)
}

// bareURL is a mirror's URL without credentials.
func bareURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text
	}
	u.User = nil
	return u.String()
}

// GoneError says that a file of a lock can no longer be had.
type GoneError struct {
	// What describes the file: "package less 1.0". Made is the time of the lock.
	What string
	Made time.Time
	// Err is what the last mirror said.
	Err error
}

func (e *GoneError) Error() string {
	return fmt.Sprintf("%s of the lock can no longer be had: it is not in the cache, and %v", e.What, e.Err)
}

func (e *GoneError) Unwrap() error { return e.Err }

// gone returns a *GoneError for the error of a download, if the Client is held to States and the file is missing or
// another one; otherwise nil.
func (c *Client) gone(what string, err error) error {
	_, other := errors.AsType[*ChecksumError](err)
	if !c.States.isFixed() || !other && !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return &GoneError{what, c.Now, err}
}

// lockedRelease is release for a Client that is held to States.
func (c *Client) lockedRelease(ctx context.Context, mirror, suite string) (*Release, error) {
	state, err := c.States.lookup(mirror, suite)
	if err != nil {
		return nil, err
	}
	var received []receivedFile
	for _, f := range state.Files {
		data, err := c.lockedFile(ctx, mirror+"/dists/"+suite+"/"+f.Name, f)
		if gone := c.gone(fmt.Sprintf("%s of suite %q", f.Name, suite), err); gone != nil {
			return nil, gone
		}
		if err != nil {
			return nil, err
		}
		received = append(received, receivedFile{f.Name, f.SHA256, data})
	}
	return c.readRelease(mirror, suite, mirror+"/dists/"+suite+"/"+state.Files[0].Name, received)
}

// lockedFile returns a Release file or its signature from the cache, else from the first mirror that has this state.
func (c *Client) lockedFile(ctx context.Context, url string, f StateFile) ([]byte, error) {
	cached, err := c.Cache.Verify(ctx, f.SHA256)
	if err != nil {
		return nil, err
	}
	if cached {
		return os.ReadFile(c.Cache.Path(f.SHA256))
	}
	var data []byte
	err = c.askMirrors(ctx, url, func(url string) (err error) {
		if data, err = c.getRelease(ctx, url); err != nil {
			return err
		}
		if got := digestOf(data); got != f.SHA256 {
			return fmt.Errorf("%s is newer: %w", Redact(url), &ChecksumError{Want: f.SHA256, Got: got})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return data, c.Cache.put(f.SHA256, data)
}

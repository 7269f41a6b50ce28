// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// The signer states the time of a signature, so it proves something only together with other times. Archives
// sign within minutes of the Date in the file (Debian's in 2026: 3 seconds to 4 minutes after it). A clock
// may be wrong by hours, and a release manager may need to fetch a key first.
const (
	// signedBefore and signedAfter limit how long before and after its Date a Release file may be signed.
	signedBefore = 24 * time.Hour
	signedAfter  = 7 * 24 * time.Hour
	// signedAhead limits how far a signature may be ahead of this machine's clock.
	signedAhead = 24 * time.Hour
)

// goodSignature is a signature of a Release file by a key of the keyring that was valid at the time that the signature
// states.
type goodSignature struct {
	key  *openpgp.Entity
	made time.Time
}

// checkSigners requires one good signature whose time fits the file's and whose key may sign the suite.
func (c *Client) checkSigners(url string, r *Release, signers []goodSignature) error {
	failure := &UntrustedError{URL: url}
	for _, v := range signers {
		id := fmt.Sprintf("%016X", v.key.PrimaryKey.KeyId)
		failure.KeyIDs = append(failure.KeyIDs, id)
		err := c.checkTime(r, v.made)
		if err == nil {
			err = c.mayKeySign(v.key, r)
		}
		if err == nil {
			return nil
		}
		failure.Bad = fmt.Errorf("signature by key %s: %w", id, err)
	}
	return failure
}

// checkTime compares the time of a signature with the file's Date and with the clock.
func (c *Client) checkTime(r *Release, made time.Time) error {
	const layout = time.DateOnly + " 15:04"
	switch {
	case r.Date.IsZero():
		return fmt.Errorf("the file has no date to compare the signature's with")
	case made.Before(r.Date.Add(-signedBefore)) || made.After(r.Date.Add(signedAfter)):
		return fmt.Errorf("it was made %s, too far from the file's date, %s", made.UTC().Format(layout),
			r.Date.Format(layout))
	case !c.Now.IsZero() && made.After(c.Now.Add(signedAhead)):
		return fmt.Errorf("it was made %s, but this machine's clock says %s", made.UTC().Format(layout),
			c.Now.UTC().Format(layout))
	}
	return nil
}

// mayKeySign returns an error if one of Debian's or Ubuntu's keys signs a suite of another release. A keyring that the
// user has chosen may sign every suite.
func (c *Client) mayKeySign(key *openpgp.Entity, r *Release) error {
	if c.UserKeyring {
		return nil
	}
	table := c.signers
	if table == nil {
		table = defaultSigners
	}
	i := slices.IndexFunc(table,
		func(s signer) bool { return s.fingerprint == fmt.Sprintf("%X", key.PrimaryKey.Fingerprint) })
	if i < 0 {
		return nil // not one of the built-in keys
	}
	// Both the requested name and the file's own count: either may be an alias.
	suites := []string{r.Name, r.Codename}
	suites = slices.DeleteFunc(suites, func(suite string) bool { return !isRelease(suite) })
	if len(suites) == 0 {
		suites = []string{r.Name}
	}
	for _, suite := range suites {
		if !table[i].maySign(suite, newestRelease(table)) {
			return fmt.Errorf("it is a key for %s, not for %s", table[i].release, suite)
		}
	}
	// Only the mirror's response says which release an alias stands for, so the key must not have expired.
	today := c.Now
	if !c.Snapshot.IsZero() {
		today = c.Snapshot
	}
	if !isRelease(r.Name) && expired(key, today) {
		return fmt.Errorf("the key has expired, and %s is a current suite", r.Name)
	}
	return nil
}

// isRelease reports whether a suite belongs to a release with keys.
func isRelease(suite string) bool {
	release, _ := splitSuite(suite)
	return slices.Contains(debianReleases, release) || isUbuntu(suite)
}

// expired reports whether a key has expired; the zero time disables the check.
func expired(key *openpgp.Entity, now time.Time) bool {
	signature, _ := key.PrimarySelfSignature()
	return !now.IsZero() && signature != nil && key.PrimaryKey.KeyExpired(signature, now)
}

// splitSuite splits a suite's name into the release and what follows it: "-updates", "/updates" or nothing.
func splitSuite(name string) (release, rest string) {
	if i := strings.IndexAny(name, "-/"); i >= 0 {
		return name[:i], name[i:]
	}
	return name, ""
}

// SuiteError says that a mirror responds with the files of another suite than the requested one, by mistake or to pass
// old packages off as new ones.
type SuiteError struct {
	URL string
	// Asked is the requested name, Suite and Codename are those in the file.
	Asked, Suite, Codename string
}

func (e *SuiteError) Error() string {
	return fmt.Sprintf("%s is not for suite %q: it has suite %q and codename %q", Redact(e.URL), e.Asked,
		e.Suite, e.Codename)
}

// checkSuite compares the suite that a Release file names with the requested one, as debootstrap and apt do.
// An alias is the file's Suite: for "stable", the file says "Suite: stable", "Codename: trixie".
func (r *Release) checkSuite(url string) error {
	// Security suites of releases before bullseye are called buster/updates, but their codename is buster.
	asked := strings.TrimSuffix(r.Name, "/updates")
	for _, name := range []string{r.Suite, r.Codename} {
		if name == r.Name || strings.TrimSuffix(name, "/updates") == asked {
			return nil
		}
	}
	return &SuiteError{url, r.Name, r.Suite, r.Codename}
}

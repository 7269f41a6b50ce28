// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// The time of a signature is what its maker says, so it proves something only beside other times. Archives sign within
// minutes of the Date in the file (Debian's in 2026: 3 seconds to 4 minutes after it). A clock may be wrong by
// hours, and a release manager may have to fetch a key.
const (
	// signedBefore and signedAfter are how long before and after the Date of a Release file it may be signed.
	signedBefore = 24 * time.Hour
	signedAfter  = 7 * 24 * time.Hour
	// signedAhead is how far ahead of this machine's clock a signature may be.
	signedAhead = 24 * time.Hour
)

// voucher is a good signature of a Release file: one by a key of the keyring that was valid at the time that the
// signature claims.
type voucher struct {
	key  *openpgp.Entity
	made time.Time
}

// checkSigners asks for one good signature whose time is near the file's and whose key may sign the suite.
func (c *Client) checkSigners(url string, r *Release, signers []voucher) error {
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

// checkTime compares the time of a signature with that of the file and that of the day.
func (c *Client) checkTime(r *Release, made time.Time) error {
	const layout = time.DateOnly + " 15:04"
	switch {
	case r.Date.IsZero():
		return fmt.Errorf("the file has no date to compare that of the signature with")
	case made.Before(r.Date.Add(-signedBefore)) || made.After(r.Date.Add(signedAfter)):
		return fmt.Errorf("it was made %s, which is too far from the file's date, %s", made.UTC().Format(layout),
			r.Date.Format(layout))
	case !c.Now.IsZero() && made.After(c.Now.Add(signedAhead)):
		return fmt.Errorf("it was made %s, and the clock of this machine says %s", made.UTC().Format(layout),
			c.Now.UTC().Format(layout))
	}
	return nil
}

// mayKeySign refuses a key of Debian's for the suites of other releases, unless a user has chosen the keyring.
func (c *Client) mayKeySign(key *openpgp.Entity, r *Release) error {
	if c.UserKeyring {
		return nil
	}
	table := c.signers
	if table == nil {
		table = debianSigners
	}
	i := slices.IndexFunc(table,
		func(s signer) bool { return s.fingerprint == fmt.Sprintf("%X", key.PrimaryKey.Fingerprint) })
	if i < 0 {
		return nil // none of Debian's
	}
	// Both what was asked for and what the file says it is count: either may be an alias.
	suites := []string{r.Name, r.Codename}
	suites = slices.DeleteFunc(suites, func(suite string) bool { return !isRelease(suite) })
	if len(suites) == 0 {
		suites = []string{r.Name}
	}
	for _, suite := range suites {
		if !table[i].maySign(suite, newestRelease(table)) {
			return fmt.Errorf("it is a key for %s, and not for %s", table[i].release, suite)
		}
	}
	// Nothing but the answer says which release an alias stands for, so its key has to be one of today.
	if !isRelease(r.Name) && expired(key, c.Now) {
		return fmt.Errorf("the key has expired, and %s is a suite of today", r.Name)
	}
	return nil
}

// isRelease reports whether a suite belongs to a release of the table.
func isRelease(suite string) bool {
	release, _ := splitSuite(suite)
	return slices.Contains(debianReleases, release)
}

// expired reports whether a key is past its life; the zero time is never.
func expired(key *openpgp.Entity, now time.Time) bool {
	signature, _ := key.PrimarySelfSignature()
	return !now.IsZero() && signature != nil && key.PrimaryKey.KeyExpired(signature, now)
}

// splitSuite takes a suite's name apart: the release and what follows it ("-updates", "/updates"), if anything.
func splitSuite(name string) (release, rest string) {
	if i := strings.IndexAny(name, "-/"); i >= 0 {
		return name[:i], name[i:]
	}
	return name, ""
}

// SuiteError says that a mirror answers with the files of another suite than the one that was asked for, be it by
// mistake or to pass old packages off as new ones.
type SuiteError struct {
	URL string
	// Asked is the name that was asked for, Suite and Codename are those in the file.
	Asked, Suite, Codename string
}

func (e *SuiteError) Error() string {
	return fmt.Sprintf("%s is not that of %q: it says that its suite is %q and its codename %q", Redact(e.URL), e.Asked,
		e.Suite, e.Codename)
}

// checkSuite compares what a Release file says that it is with what was asked for, as debootstrap and apt do. An alias
// is the file's Suite: asked for "stable", it says "Suite: stable", "Codename: trixie".
func (r *Release) checkSuite(url string) error {
	// Security archives of releases before bullseye are at buster/updates, and say that they are buster.
	asked := strings.TrimSuffix(r.Name, "/updates")
	for _, name := range []string{r.Suite, r.Codename} {
		if name == r.Name || strings.TrimSuffix(name, "/updates") == asked {
			return nil
		}
	}
	return &SuiteError{url, r.Name, r.Suite, r.Codename}
}

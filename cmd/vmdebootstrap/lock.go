// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/lockfile"
)

// sourceDateEpoch names the variable of reproducible-builds.org that holds the time to record in what is built, in
// seconds since 1970.
const sourceDateEpoch = "SOURCE_DATE_EPOCH"

// lock returns the seed of the image's IDs and the time that it records: those of the lock file, else random and now,
// unless SOURCE_DATE_EPOCH asks for a reproducible image. With a lock file they can be had again.
func (j *job) lock() (builder.Lock, error) {
	text := j.env.getenv(sourceDateEpoch)
	seconds, err := strconv.ParseInt(text, 10, 64)
	if text != "" && (err != nil || seconds < 0) {
		return builder.Lock{}, fmt.Errorf("%s=%q is not a number of seconds since 1970", sourceDateEpoch, text)
	}
	epoch := time.Unix(seconds, 0).UTC()
	switch locked := j.settings.locked; {
	case locked != nil && text != "" && !locked.Time.Equal(epoch):
		return builder.Lock{}, fmt.Errorf("%s=%s is another time than that of --lock-file, %d: leave one of them out",
			sourceDateEpoch, text, locked.Time.Unix())
	case locked != nil:
		return builder.Lock{Seed: locked.Seed, SeedFixed: true, Time: locked.Time.UTC()}, nil
	case text != "":
		seed := uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://reproducible-builds.org/"+text))
		return builder.Lock{Seed: seed, SeedFixed: true, Time: epoch}, nil
	}
	lock := builder.Lock{Time: j.env.now()}
	if j.spec.Options().LockFile != "" {
		lock.SeedFixed, lock.Time = true, lock.Time.Truncate(time.Second).UTC()
	}
	_, err = rand.Read(lock.Seed[:])
	return lock, err
}

// readLockFile reads the lock of --lock-file, if there is one: otherwise the build writes it.
func (s *settings) readLockFile(dir string) error {
	if s.options.LockFile == "" {
		return nil
	}
	f, err := os.Open(absolute(dir, s.options.LockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		defer f.Close()
		var locked lockfile.File
		if locked, err = lockfile.Read(f); err == nil {
			s.locked = &locked
			return s.checkLocked()
		}
		err = fmt.Errorf("read %s: %w", s.options.LockFile, err)
	}
	return &builder.Problem{Flag: "--lock-file", Err: err}
}

// lockedGroups are the groups of settings that a lock records.
var lockedGroups = []group{groupOutput, groupSource, groupSystem, groupDisk}

// neverLocked are the settings of these groups that a lock does not record: the files that describe the build, and what
// decides only about how outputs reach their places.
var neverLocked = []string{"lock-file", "manifest", "sbom", "report", "provenance", "sign-key", "owner", "pkglist",
	"tls-verify", "root-password-file"}

// toLock returns the settings that differ from the defaults, as a lock records them, and the names of those with
// secrets, which it does not. Actions are in the order in which they run.
func (s *settings) toLock() (all []lockfile.Setting, hidden []string) {
	defaults := newSettings("")
	for i, t := range s.all {
		texts := t.value.dump()
		if !slices.Contains(lockedGroups, t.group) || slices.Contains(neverLocked, t.name) ||
			slices.Equal(texts, defaults.all[i].value.dump()) {
			continue
		}
		if slices.ContainsFunc(texts, builder.HidesSecret) {
			hidden = append(hidden, t.name)
			continue
		}
		if _, ok := t.value.(actionsValue); ok {
			continue // below
		}
		for _, text := range texts {
			all = append(all, lockfile.Setting{Name: t.name, Value: text})
		}
	}
	for _, a := range s.options.Actions {
		if name := strings.TrimPrefix(a.Flag(), "--"); !slices.Contains(hidden, name) {
			all = append(all, lockfile.Setting{Name: name, Value: a.String()})
		}
	}
	return all, hidden
}

// checkLocked returns an error if settings that decide about packages are others than those of the lock: the build
// would end with other packages, after minutes.
func (s *settings) checkLocked() error {
	values := func(all []lockfile.Setting, name string) string {
		var texts []string
		for _, setting := range all {
			if setting.Name == name {
				texts = append(texts, setting.Value)
			}
		}
		return strings.Join(texts, ",")
	}
	now, _ := s.toLock()
	var problems []error
	for _, name := range []string{"arch", "distribution", "snapshot", "debootstrapopts", "package", "kernel-package",
		"no-kernel", "no-acpid", "recommends", "sudo", "boot", "grub", "extlinux", "use-uefi"} {
		got, want := values(now, name), values(s.locked.Settings, name)
		if got != want && (name != "snapshot" || want != "") { // with another lock, it stands in for mirrors
			problems = append(problems, &builder.Problem{Flag: "--lock-file", Err: fmt.Errorf(
				"the lock was made with --%s=%s, and this build has --%s=%s: use another file for another lock", name, want,
				name, got)})
		}
	}
	return errors.Join(problems...)
}

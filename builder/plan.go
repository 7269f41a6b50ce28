// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/filesystem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
	"github.com/vmdebootstrap/vmdebootstrap/hooks"
)

// Lock holds the answers of the outside world that a build depends on.
type Lock struct {
	// Codename is the suite's name by its own InRelease file: "trixie" for "stable".
	Codename string
	// Suite is the name by which debootstrap asks for the suite and writes it to sources.list: the codename,
	// if the mirror has it by that name, else "" for that of --distribution.
	Suite string
	// InRelease is the SHA-256 digest of the InRelease file, in hexadecimal.
	InRelease string
	// Repositories are those of Spec.Repositories, in their order: "" for one that is left out. It is nil where no archive
	// was asked.
	Repositories []string
	// Tools is the digest of the InRelease file of the release that the tools come from.
	Tools string
	// Scripts is a digest of the files of --debootstrap-scripts, "" for debootstrap's own.
	Scripts string
	// Actions holds the SHA-256 digest of what each action names of the host, in the order of the options.
	Actions []string
	// CustomPackages holds the SHA-256 digest of each --custom-package file.
	CustomPackages []string
	// Inputs are all files and directories of the host that the build uses.
	Inputs []Input
	// Copied are what the instructions of Containerfiles copy of the host, by instructionID.
	Copied map[string][]step.CopySource
	// Copies are where the copies are of files and directories of the host, by the names of these; see Take.
	Copies map[string]string
	// Seed is where the image's IDs come from.
	Seed uuid.UUID
	// SeedFixed says that the image must have these IDs, and not those of an earlier build that it goes on from.
	SeedFixed bool
	// Time is written wherever the image records when it was made.
	Time time.Time
}

// Input is a file or a directory of the host that a build uses.
type Input struct {
	// Flag is the option that names it, and Name its absolute name.
	Flag, Name string
	// Digest is the SHA-256 digest of a file, or one of everything in a directory.
	Digest string
}

// inputDigest returns the digest of an input by its name; "" if Take has not taken it.
func (l Lock) inputDigest(name string) string {
	if i := slices.IndexFunc(l.Inputs, func(in Input) bool { return in.Name == name }); i >= 0 {
		return l.Inputs[i].Digest
	}
	return ""
}

// codename returns the suite's codename, which is that of the table of releases where no mirror was asked.
func (l Lock) codename(spec Spec) string { return cmp.Or(l.Codename, spec.Codename()) }

// epoch is what tells programs the time to record, if the build must not depend on the present one.
func (l Lock) epoch() []string {
	if !l.SeedFixed {
		return nil
	}
	return []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(l.Time.Unix(), 10)}
}

// fixed identifies time and seed of a build that must not depend on the present ones; nil for others.
func (l Lock) fixed() []string {
	if !l.SeedFixed {
		return nil
	}
	return append(l.epoch(), "seed "+l.Seed.String())
}

// Plan is what a build does: the steps on the root file system in their order, and the disk or the tar archive that it
// ends in.
type Plan struct {
	Steps []step.Step
	// Stages are stages of Containerfiles that steps use, each after those that it uses itself.
	Stages  []PlanStage
	Disk    *Disk
	Tarball string
	// Squash is the directory of a live file system.
	Squash  string
	ISO     *ISO
	Exports []Export
	// Descriptions are the files that describe what was built.
	Descriptions []string

	// identities are the steps without IDs that nobody asked for: digests are made of them.
	identities []step.Step
}

// NewPlan decides everything that can be decided before the work begins. It is pure: the same Spec and Lock give the
// same Plan.
func NewPlan(spec Spec, lock Lock) (Plan, error) {
	p, err := choose(spec, lock)
	if err != nil {
		return Plan{}, err
	}
	p.identities = p.Steps
	for i, s := range p.Stages {
		p.Stages[i].identities = s.Steps
	}
	if p.Disk != nil && !lock.SeedFixed {
		lock.Seed = uuid.Max
		hidden, err := choose(spec, lock)
		if err != nil {
			return Plan{}, err
		}
		p.identities = hidden.Steps
		for i, s := range hidden.Stages {
			p.Stages[i].identities = s.Steps
		}
	}
	return p, nil
}

// resumed returns the plan of a build that begins with a snapshot, and the seed of its IDs. IDs of file
// systems are random unless the Lock fixes them, and no reason to run a step again: those that are written in
// the snapshot are taken over. spec and lock are those of p.
func (p Plan) resumed(spec Spec, lock Lock, s snapshot.Start) (Plan, uuid.UUID, error) {
	if s.Snapshot == "" || lock.SeedFixed {
		return p, lock.Seed, nil
	}
	same, err := samePrefix(p.Steps, p.identities, len(s.Entries))
	if err != nil || same {
		return p, lock.Seed, err
	}
	lock.Seed = s.Seed
	again, err := choose(spec, lock)
	again.identities = p.identities
	for i, s := range p.Stages {
		again.Stages[i].identities = s.identities
	}
	return again, lock.Seed, err
}

// SharedSteps returns how many steps the plans begin with that are the same.
func (p Plan) SharedSteps(other Plan) int {
	n := 0
	for n < min(len(p.Steps), len(other.Steps)) && reflect.DeepEqual(p.Steps[n], other.Steps[n]) {
		n++
	}
	return n
}

// samePrefix reports whether the data of the first n steps are the same.
func samePrefix(a, b []step.Step, n int) (bool, error) {
	for i := range n {
		first, err := json.Marshal(a[i])
		if err != nil {
			return false, err
		}
		second, err := json.Marshal(b[i])
		if err != nil || string(first) != string(second) {
			return false, err
		}
	}
	return true, nil
}

// choose chooses the disk and the steps.
func choose(spec Spec, lock Lock) (Plan, error) {
	o, release := spec.Options(), spec.Release()
	p := Plan{Tarball: o.Tarball, Squash: o.Squash, Exports: o.Exports}
	for _, d := range spec.descriptions() {
		p.Descriptions = append(p.Descriptions, d.file)
	}
	if o.Image != "" {
		disk, err := newDisk(spec, lock)
		if err != nil {
			return Plan{}, err
		}
		p.Disk = &disk
	}

	if o.ISO != "" {
		iso := newISO(spec, lock)
		p.ISO = &iso
	}

	p.add(newDebootstrapStep(spec, lock))
	if arches := packageNames(o.DpkgArches); len(arches) > 0 {
		p.add(step.Architectures{Mirror: withoutSlash(spec.mirror().Bare()), Suite: cmp.Or(lock.Suite, o.Distribution),
			Arches: arches})
	}
	if name := o.AptPreferences; name != "" {
		p.add(step.AptPreferences{File: lock.Copy(name), Digest: lock.inputDigest(name)})
	}
	if upgrade, ok := newUpgradeStep(spec, lock); ok {
		p.add(upgrade)
	}
	p.addActions(spec, lock, hooks.PhaseEssential)
	asBooted := p.Disk != nil && p.Disk.BootMount != boot.DefaultMount
	if asBooted {
		p.add(step.Mounted{Mounts: mounted(fstabEntries(p.Disk))})
	}
	if packages := spec.Packages(); len(packages) > 0 {
		p.add(step.AptInstall{Update: spec.hasEssentialHooks(), Packages: packages, Recommends: o.Recommends,
			Debconf: spec.loader.Answers(), HoldInitramfs: o.UpdateInitramfs})
	}
	p.add(step.Hostname{Hostname: o.Hostname})
	fstab := fstabWithoutDisk(o)
	if p.Disk != nil {
		fstab = fstabEntries(p.Disk)
	}
	p.add(step.Fstab{Entries: fstab})
	if p.Disk != nil && o.LUKS {
		p.add(p.Disk.crypttab())
	}
	if len(o.CustomPackages) > 0 {
		p.add(newCustomPackagesStep(o, lock))
	}
	if !spec.hasHash(rootUser) {
		p.add(step.RootPassword{Password: o.RootPassword, Lock: o.LockRootPassword})
	}
	for _, u := range o.Users {
		p.add(step.AddUser{User: u, Sudo: o.Sudo})
	}
	p.Steps = append(p.Steps, loginSteps(o, lock)...)
	if o.CloudInit {
		p.add(cloudInitStep(o, release, lock))
	}
	p.add(step.PersistentRules{})
	network := newNetworkStep(o, release)
	p.add(network)
	if o.ConfigureApt {
		p.add(newAptSourcesStep(spec, cmp.Or(lock.Suite, o.Distribution)))
	}
	p.addActions(spec, lock, hooks.PhaseCustomize)
	if mirrors, ok := newMirrorsStep(spec); ok {
		p.add(mirrors)
	}
	if network.Networkd {
		p.add(step.OneNetworkManager{})
	}
	if p.Disk != nil && p.Disk.readOnly() {
		p.add(step.Overlay{Roottype: o.Roottype, Grub: p.Disk.Loader.WritesGrubenv()})
	}
	if p.Disk != nil && p.Disk.verifies() {
		p.add(p.Disk.verityStep())
	}
	if p.Disk != nil && p.Disk.Grow == step.GrowInitramfs {
		p.add(p.Disk.growStep())
	}
	if o.UpdateInitramfs {
		if p.Disk != nil && !p.Disk.verifies() && filesystem.Lookup(o.Roottype).FsckInInitramfs {
			p.add(step.Fsck{Type: o.Roottype})
		}
		p.add(step.Initramfs{})
	}
	if asBooted {
		p.add(step.Unmounted{})
	}
	if p.Disk != nil {
		p.Steps = append(p.Steps, p.Disk.steps()...)
		if p.Disk.Slots != nil {
			p.add(p.Disk.sysupdateStep(o, lock))
		}
	}
	if o.SerialConsole && release.Sysvinit() {
		p.add(step.Inittab{Command: o.SerialConsoleCommand})
	}
	if !o.KeepIdentity {
		p.add(step.MachineKeys{Sysvinit: release.Sysvinit()})
		if release.FirstBoot() {
			p.add(step.MachineID{Ignore: release.PresetIgnore()})
		}
	}
	p.add(step.Clean{})
	return p, nil
}

// ubuntuScript is debootstrap's script for gutsy and all later releases of Ubuntu. Those that debootstrap knows are
// links to it; the toolbox's debootstrap may be older than the release.
const ubuntuScript = "gutsy"

func newDebootstrapStep(spec Spec, lock Lock) step.Debootstrap {
	o, release := spec.Options(), spec.Release()
	d := step.Debootstrap{Suite: cmp.Or(lock.Suite, o.Distribution), Arch: o.Arch, Mirror: spec.mirror().Bare(),
		InRelease: lock.InRelease, Tools: lock.Tools, Scripts: lock.Copy(spec.ownScripts()),
		ScriptsDigest: lock.Scripts, KeepIdentity: o.KeepIdentity, RealDpkg: spec.realDpkg()}
	d.Options, _ = step.DebootstrapOptions(o.Debootstrapopts)
	if release.Vendor != debian.Ubuntu {
		return d
	}
	if _, set := step.DebootstrapOption(d.Options, "components"); !set { // debootstrap's own choice is main alone
		d.Options = append(d.Options, "--components="+strings.Join(release.Components(), ","))
	}
	if spec.ownScripts() == "" && release.Since("", ubuntuScript) {
		d.Script = ubuntuScript
	}
	return d
}

// addActions adds the user's own steps of one phase.
func (p *Plan) addActions(spec Spec, lock Lock, phase hooks.Phase) {
	o, commands := spec.Options(), 0
	var probe grub.ProbeAnswers
	if p.Disk != nil && phase != hooks.PhaseEssential { // where GRUB is not installed yet
		probe = p.Disk.grubProbe()
	}
	for i, action := range o.Actions {
		if action.Kind == ActionCommand {
			commands++
		}
		digest := ""
		if i < len(lock.Actions) {
			digest = lock.Actions[i]
		}
		switch {
		case action.Phase != phase:
		case action.Kind == ActionContainerfile:
			before := slices.Clone(p.Steps)
			base := func(image string) []step.Step {
				if image != rootfsBase {
					return nil // FROM scratch
				}
				return before
			}
			p.addContainerfile(containerPlan{evaluatedFile: spec.containerfiles[action.Text], lock: lock,
				secrets: o.BuildSecrets, probe: probe, base: base})
		default:
			p.add(action.step(digest, lock, o.Image, commands, probe))
		}
	}
}

func (p *Plan) add(s step.Step) { p.Steps = append(p.Steps, s) }

// newNetworkStep chooses by table B.8 of the specification.
func newNetworkStep(o Options, r debian.Release) step.Network {
	ifupdown := step.Network{Ifupdown: true, DHCP: o.EnableDHCP, Include: "source-directory /etc/network/interfaces.d"}
	switch {
	case !r.Systemd():
		ifupdown.Include = "source /etc/network/interfaces.d/*"
		return ifupdown
	case !o.SystemdNetworkd:
		ifupdown.OldNames = true
		return ifupdown
	case !r.Resolved():
		ifupdown.Networkd = true
		return ifupdown
	default:
		return step.Network{Networkd: true, Resolved: true}
	}
}

// stagesOf returns the stages that a step uses, and those that these use, each before those that use it. It leaves out
// those with an ID in seen, and adds the others.
func (p Plan) stagesOf(s step.Step, seen map[string]bool) []PlanStage {
	user, ok := s.(step.StageUser)
	if !ok {
		return nil
	}
	var stages []PlanStage
	for _, id := range user.UsesStages() {
		if seen[id] {
			continue
		}
		seen[id] = true
		for _, stage := range p.Stages {
			if stage.ID != id {
				continue
			}
			for _, own := range stage.own() {
				stages = append(stages, p.stagesOf(own, seen)...)
			}
			stages = append(stages, stage)
		}
	}
	return stages
}

// titles returns the titles of steps, each after those of the stages that it uses first.
func (p Plan) titles(steps []step.Step) []string {
	var titles []string
	seen := map[string]bool{}
	for _, s := range steps {
		for _, stage := range p.stagesOf(s, seen) {
			for _, own := range stage.own() {
				titles = append(titles, own.Title())
			}
		}
		titles = append(titles, s.Title())
	}
	return titles
}

// outputTitle is the name of an output for users.
func outputTitle(name string) string {
	if name == StandardOutput {
		return "a tar archive to standard output"
	}
	return name
}

// Print writes the plan for users: a line per step, then the disk.
func (p Plan) Print(w io.Writer) error {
	var err error
	printf := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format, args...)
		}
	}
	printf("Plan:\n")
	shown := map[string]bool{}
	for i, s := range p.Steps {
		printf("%3d. %s\n", i+1, s.Title())
		for _, stage := range p.stagesOf(s, shown) {
			printf("       with %s:\n", stage.Title)
			for _, s := range stage.own() {
				printf("         %s\n", s.Title())
			}
		}
	}
	for _, name := range []string{p.Tarball, p.Squash} {
		if name != "" {
			printf("%3d. write %s\n", len(p.Steps)+1, outputTitle(name))
		}
	}
	if p.ISO != nil {
		printf("%3d. write %s: %s\n", len(p.Steps)+1, p.ISO.File, p.ISO.title())
	}
	for _, e := range p.Exports {
		printf("%3d. write %s\n", len(p.Steps)+1, e)
	}
	if p.Disk != nil {
		printf("%3d. write %s: %s\n", len(p.Steps)+1, strings.Join(p.Disk.fileNames(), " and "), p.Disk.title())
		for _, line := range p.Disk.contents() {
			printf("       %s\n", line)
		}
	}
	for _, name := range p.Descriptions {
		printf("%3d. write %s\n", len(p.Steps)+1, name)
	}
	return err
}

func newCustomPackagesStep(o Options, lock Lock) step.CustomPackages {
	c := step.CustomPackages{Digests: lock.CustomPackages, Recommends: o.Recommends}
	for _, name := range o.CustomPackages {
		c.Files = append(c.Files, lock.Copy(name))
		c.Names = append(c.Names, filepath.Base(name))
	}
	return c
}

// debianSecurity is the archive of security updates, which mirrors of the main archive do not have.
var debianSecurity = secret.NewURL("http://security.debian.org/debian-security")

// newAptSourcesStep follows --configure-apt and --apt-mirror. A released suite gets its updates as well. suite is the
// name that debootstrap was given: the codename where the mirror has it, so that the machine stays with its release.
func newAptSourcesStep(spec Spec, suite string) step.AptSources {
	o, r := spec.o, spec.release
	uri := o.AptMirror
	if uri.IsZero() || spec.ofSnapshot() {
		uri = spec.mirror().Bare()
	}
	s := step.AptSources{Deb822: r.Deb822Sources(), Keyring: "/usr/share/keyrings/debian-archive-keyring.gpg"}
	add := func(uri secret.URL, suite string) {
		s.Entries = append(s.Entries, step.AptSource{URI: withoutSlash(uri), Suite: suite, Components: components(o, r)})
	}
	add(uri, suite)
	security := uri
	switch r.Vendor {
	case debian.Ubuntu:
		s.Keyring = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"
	case debian.Debian:
		security = debianSecurity
	}
	if !o.SecurityMirror.IsZero() || spec.ofSnapshot() {
		security = spec.securityMirror().Bare()
	}
	pockets := packageNames(o.Pockets)
	if len(pockets) == 0 && r.Released != "" && r.SecuritySuite() != "" {
		pockets = []string{pocketUpdates, pocketSecurity}
	}
	for _, word := range pocketWords {
		switch {
		case !slices.Contains(pockets, word):
		case word == pocketSecurity:
			// stable-security exists as trixie-security does.
			add(security, suite+strings.TrimPrefix(r.SecuritySuite(), r.Codename))
		default:
			add(uri, suite+"-"+word)
		}
	}
	return s
}

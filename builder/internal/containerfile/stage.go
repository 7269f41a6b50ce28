// SPDX-License-Identifier: Apache-2.0

package containerfile

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/opencontainers/go-digest"
)

// Options are what the instructions of a Containerfile depend on.
type Options struct {
	// Args are the values of --build-arg, as NAME=VALUE.
	Args []string
	// Arch and Variant are what container images call the architecture.
	Arch, Variant string
	// Base returns the configuration of an image that a stage begins with. An error says why it cannot be one.
	Base func(image string) (Config, error)
}

// Config is the part of an image's configuration that instructions depend on.
type Config struct {
	// Env has variables as NAME=VALUE.
	Env           []string
	User, Workdir string
	Shell         []string
}

// Stage is what one FROM begins, evaluated.
type Stage struct {
	Name string
	Line int
	// Parent is the index of the stage that it continues, or -1: then Image is the image that it begins with.
	Parent int
	Image  string
	// Uses are the indexes of the stages that it copies or mounts files of, without Parent.
	Uses         []int
	Instructions []Instruction
	// Described are instructions about a process of a container, which a disk image does not have, in their order: those
	// that do nothing else, ENV, and the last USER if it is not root. Those of the stage that it continues are among them.
	Described []Instruction

	config Config
}

// Instruction is one that changes the root file system: exactly one of Run, Copy and Workdir is set. Of those in
// Stage.Described none is set.
type Instruction struct {
	// Line is its first line, and Text the source, on one line.
	Line    int
	Text    string
	Run     *Run
	Copy    *Copy
	Workdir *Workdir
}

// Name returns the first word of the instruction, in capitals.
func (i Instruction) Name() string {
	name, _, _ := strings.Cut(i.Text, " ")
	return strings.ToUpper(name)
}

// Mounts returns the mounts of a RUN.
func (i Instruction) Mounts() []Mount {
	if i.Run == nil {
		return nil
	}
	return i.Run.Mounts
}

// Run is a RUN instruction.
type Run struct {
	Args []string
	// Script is the text of a heredoc that begins with "#!"; it is the program ScriptFile of Args.
	Script string
	// Env are the variables, sorted.
	Env           []string
	Workdir, User string
	Mounts        []Mount
}

// ScriptFile is where the Script of a Run is while it runs.
const ScriptFile = "/dev/pipes/script"

// Mount is a --mount of a Run. Its fields are those of the language.
type Mount struct {
	*instructions.Mount
	// Stage is the index of the stage that From names, or -1 for the context.
	Stage int
}

// Types of mounts.
const (
	MountBind   = instructions.MountTypeBind
	MountCache  = instructions.MountTypeCache
	MountSecret = instructions.MountTypeSecret
	MountTmpfs  = instructions.MountTypeTmpfs
)

// CacheID is what identifies the files of a mount of the type cache.
func (m Mount) CacheID() string { return cmp.Or(m.Mount.CacheID, m.Target) }

// SecretID is the secret that a mount of the type secret is about.
func (m Mount) SecretID() string { return cmp.Or(m.Mount.CacheID, m.Source, path.Base(m.Target)) }

// SecretTarget is the file of a mount of the type secret; "" if it sets a variable only.
func (m Mount) SecretTarget() string {
	if m.Target != "" || m.Env != nil {
		return m.Target
	}
	return "/run/secrets/" + path.Base(m.SecretID())
}

// SecretVariable is the variable that a mount of the type secret sets, or "".
func (m Mount) SecretVariable() string {
	if m.Env == nil {
		return ""
	}
	return cmp.Or(*m.Env, m.SecretID())
}

// Copy is a COPY or ADD instruction.
type Copy struct {
	// Stage is the index of the stage whose files are copied, or -1 for the context.
	Stage int
	// Sources are patterns of paths, relative to the context or to the root directory of the stage, or URLs, see IsURL.
	Sources []string
	// Inline are files whose content is in the Containerfile.
	Inline []Inline
	// Destination is absolute. It is a directory if it ends in a slash.
	Destination string
	// Chown is USER, USER:GROUP or ""; Chmod is octal or "".
	Chown, Chmod string
	Exclude      []string
	// SHA256 is the digest, in hexadecimal, that the file of the only URL must have; "" for any.
	SHA256 string
	// Unpack has tar archives unpacked, and UnpackURLs those of URLs.
	Unpack, UnpackURLs bool
}

// Inline is a file whose content is in the Containerfile.
type Inline struct{ Name, Text string }

// Workdir makes a directory, which belongs to User.
type Workdir struct{ Path, User string }

// Stages evaluates the instructions. The error joins all mistakes, each an *Error.
func (f *File) Stages(o Options) ([]Stage, error) {
	var problems []error
	fail := func(line int, err error) { problems = append(problems, &Error{f.name, line, err}) }
	args, all, err := f.instructions()
	if err != nil {
		return nil, err
	}
	global, err := f.globalArgs(args, o)
	if err != nil {
		return nil, err
	}
	var stages []Stage
	for _, parsed := range all {
		stage, err := f.begin(parsed, stages, global, o)
		if err != nil {
			fail(line(parsed.Location), err)
		}
		e := &evaluation{stages: stages, stage: &stage, options: o, global: global, lex: shell.NewLex(f.escape),
			env: variables(stage.config.Env), args: map[string]string{}}
		for _, c := range parsed.Commands {
			if err := e.add(c); err != nil {
				fail(line(c.Location()), fmt.Errorf("%s: %w", strings.ToUpper(c.Name()), err))
			}
		}
		stage.config.Env = e.env.list()
		stages = append(stages, stage)
	}
	return stages, errors.Join(problems...)
}

// Unused returns the names of Args that no ARG declares, sorted.
func (f *File) Unused(args []string) []string {
	declared := map[string]bool{}
	note := func(c *instructions.ArgCommand) {
		for _, a := range c.Args {
			declared[a.Key] = true
		}
	}
	before, stages, err := f.instructions()
	if err != nil {
		panic("BUG: not parsed: " + err.Error())
	}
	for _, c := range before {
		note(c)
	}
	for _, s := range stages {
		for _, c := range s.Commands {
			if arg, ok := c.(*instructions.ArgCommand); ok {
				note(arg)
			}
		}
	}
	unused := variables(args)
	maps.DeleteFunc(unused, func(name, _ string) bool { return declared[name] || isProxy(name) })
	return slices.Sorted(maps.Keys(unused))
}

// globalArgs returns the arguments that FROM may use, and that a stage may declare without a value.
func (f *File) globalArgs(args []*instructions.ArgCommand, o Options) (variableSet, error) {
	global := variableSet{
		"TARGETPLATFORM": "linux/" + o.Arch, "TARGETOS": "linux", "TARGETARCH": o.Arch, "TARGETVARIANT": o.Variant,
		"BUILDPLATFORM": "linux/" + o.Arch, "BUILDOS": "linux", "BUILDARCH": o.Arch, "BUILDVARIANT": o.Variant,
	}
	if o.Variant != "" {
		global["TARGETPLATFORM"] += "/" + o.Variant
		global["BUILDPLATFORM"] = global["TARGETPLATFORM"]
	}
	given := variables(o.Args)
	lex := shell.NewLex(f.escape)
	for _, c := range args {
		for _, a := range c.Args {
			value, ok := given[a.Key]
			if !ok && a.Value == nil {
				continue
			}
			if !ok {
				var err error
				if value, _, err = lex.ProcessWord(*a.Value, global.getter()); err != nil {
					return nil, &Error{f.name, line(c.Location()), err}
				}
			}
			global[a.Key] = value
		}
	}
	return global, nil
}

// scratch is the name of the empty image.
const scratch = "scratch"

// begin returns a stage without its instructions.
func (f *File) begin(parsed *instructions.Stage, before []Stage, global variableSet, o Options) (Stage, error) {
	s := Stage{Name: parsed.Name, Line: line(parsed.Location), Parent: -1}
	lex := shell.NewLex(f.escape)
	base, _, err := lex.ProcessWord(parsed.BaseName, global.getter())
	if err != nil {
		return s, fmt.Errorf("FROM: %w", err)
	}
	platform, _, err := lex.ProcessWord(parsed.Platform, global.getter())
	switch {
	case err != nil:
		return s, fmt.Errorf("FROM: %w", err)
	case base == "":
		return s, fmt.Errorf("FROM: %q is empty", parsed.BaseName)
	case platform != "" && platform != global["TARGETPLATFORM"] && platform != "linux/"+o.Arch:
		return s, fmt.Errorf("FROM: --platform=%s: only %s is built for", platform, global["TARGETPLATFORM"])
	}
	if s.Name != "" {
		if i := findStage(before, s.Name); i >= 0 {
			return s, fmt.Errorf("FROM: the stage of line %d is called %q as well", before[i].Line, s.Name)
		}
	}
	if i := findStage(before, base); i >= 0 {
		s.Parent, s.config, s.Described = i, before[i].config, slices.Clone(before[i].Described)
		return s, nil
	}
	s.Image = base
	if base == scratch {
		return s, nil
	}
	s.config, err = o.Base(base)
	if err != nil {
		return s, fmt.Errorf("FROM: %w", err)
	}
	return s, nil
}

// findStage returns the index of a stage by its name, or -1.
func findStage(stages []Stage, name string) int {
	return slices.IndexFunc(stages, func(s Stage) bool { return s.Name != "" && strings.EqualFold(s.Name, name) })
}

// stageNumber returns the index of a stage by its name or number.
func stageNumber(stages []Stage, name string) (int, error) {
	if i := findStage(stages, name); i >= 0 {
		return i, nil
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(stages) {
		return i, nil
	}
	return -1, fmt.Errorf("there is no stage %q before this one: files of an image are copied from a stage that begins "+
		"with it", name)
}

// evaluation is the state of a stage while its instructions are evaluated.
type evaluation struct {
	stages  []Stage
	stage   *Stage
	options Options
	global  variableSet
	lex     *shell.Lex
	env     variableSet
	args    variableSet
}

// known returns all variables that instructions see. ENV takes precedence over ARG.
func (e *evaluation) known() variableSet {
	all := maps.Clone(e.args)
	maps.Copy(all, e.env)
	return all
}

// add evaluates one instruction.
func (e *evaluation) add(c instructions.Command) error {
	if expands, ok := c.(instructions.SupportsSingleWordExpansion); ok {
		if err := expands.Expand(e.expand); err != nil {
			return err
		}
	}
	if expands, ok := c.(instructions.SupportsSingleWordExpansionRaw); ok {
		if err := expands.ExpandRaw(e.expandRaw); err != nil {
			return err
		}
	}
	i := Instruction{Line: line(c.Location()), Text: oneLine(c)}
	switch c := c.(type) {
	case *instructions.RunCommand:
		run, err := e.run(c)
		if err != nil {
			return err
		}
		i.Run = run
	case *instructions.CopyCommand:
		if n := slices.IndexFunc(c.SourcePaths, IsURL); n >= 0 {
			return fmt.Errorf("%s: use ADD for a URL", c.SourcePaths[n])
		}
		copied, err := e.copy(c.SourcesAndDest, c.From, c.Chown, c.Chmod, c.ExcludePatterns)
		if err != nil {
			return err
		}
		i.Copy = copied
	case *instructions.AddCommand:
		added, err := e.copy(c.SourcesAndDest, "", c.Chown, c.Chmod, c.ExcludePatterns)
		if err != nil {
			return err
		}
		if err := added.urls(c); err != nil {
			return err
		}
		i.Copy = added
	case *instructions.WorkdirCommand:
		e.stage.config.Workdir = e.absolute(c.Path)
		i.Workdir = &Workdir{e.stage.config.Workdir, e.stage.config.User}
	case *instructions.ArgCommand:
		e.declare(c)
		return nil
	case *instructions.EnvCommand:
		for _, kv := range c.Env {
			e.env[kv.Key] = kv.Value
		}
		e.stage.Described = append(e.stage.Described, i)
		return nil
	case *instructions.UserCommand:
		e.stage.config.User = c.User
		e.stage.Described = slices.DeleteFunc(e.stage.Described, func(d Instruction) bool { return d.Name() == i.Name() })
		if !IsRoot(c.User) {
			e.stage.Described = append(e.stage.Described, i)
		}
		return nil
	case *instructions.ShellCommand:
		e.stage.config.Shell = c.Shell
		return nil
	case *instructions.LabelCommand, *instructions.MaintainerCommand:
		return nil
	case *instructions.OnbuildCommand:
		return errors.New("it is for images that others build on, and does nothing for a disk: remove it")
	default: // CMD, ENTRYPOINT, EXPOSE, HEALTHCHECK, STOPSIGNAL, VOLUME
		e.stage.Described = append(e.stage.Described, i)
		return nil
	}
	e.stage.Instructions = append(e.stage.Instructions, i)
	return nil
}

// IsRoot reports whether USER says that programs run as root, as they do without it.
func IsRoot(user string) bool {
	name, _, _ := strings.Cut(user, ":")
	return name == "" || name == "root" || name == "0"
}

func (e *evaluation) expand(word string) (string, error) {
	result, _, err := e.lex.ProcessWord(word, e.known().getter())
	return result, err
}

// expandRaw expands variables and keeps quotes, as in the text of a file.
func (e *evaluation) expandRaw(word string) (string, error) {
	lex := shell.NewLex('\\')
	lex.SkipProcessQuotes = true
	result, _, err := lex.ProcessWord(word, e.known().getter())
	return result, err
}

// declare adds the arguments of an ARG instruction.
func (e *evaluation) declare(c *instructions.ArgCommand) {
	given := variables(e.options.Args)
	for _, a := range c.Args {
		value, ok := given[a.Key]
		if !ok && a.Value != nil {
			value, ok = *a.Value, true
		}
		if !ok {
			value, ok = e.global[a.Key]
		}
		if ok {
			e.args[a.Key] = value
		}
	}
}

// absolute returns a path that may be relative to WORKDIR. A slash at its end stays.
func (e *evaluation) absolute(name string) string {
	clean := path.Join("/", name)
	if !path.IsAbs(name) {
		clean = path.Join("/", e.stage.config.Workdir, name)
	}
	if clean != "/" && (strings.HasSuffix(name, "/") || name == "." || strings.HasSuffix(name, "/.")) {
		clean += "/"
	}
	return clean
}

// defaultShell runs the shell form of RUN if there is no SHELL.
var defaultShell = []string{"/bin/sh", "-c"}

// run evaluates a RUN instruction.
func (e *evaluation) run(c *instructions.RunCommand) (*Run, error) {
	config := e.stage.config
	r := &Run{Args: c.CmdLine, Env: e.known().list(), User: config.User, Workdir: path.Join("/", config.Workdir)}
	if len(c.CmdLine) == 0 || c.CmdLine[0] == "" {
		return nil, errors.New("no command")
	}
	if len(c.Files) > 0 {
		text := c.Files[0].Data
		if c.Files[0].Chomp {
			text = parser.ChompHeredocContent(text)
		}
		switch heredoc := parser.MustParseHeredoc(c.CmdLine[0]); {
		case heredoc != nil && strings.HasPrefix(text, "#!"):
			r.Script, r.Args = text, []string{ScriptFile}
		case heredoc != nil:
			r.Args = []string{text}
		default: // the shell reads the heredocs
			whole := c.CmdLine[0]
			for _, file := range c.Files {
				whole += "\n" + file.Data + file.Name
			}
			r.Args = []string{whole}
		}
	}
	if c.PrependShell && r.Script == "" {
		r.Args = slices.Concat(firstNonEmpty(config.Shell, defaultShell), r.Args)
	}
	switch {
	case instructions.GetNetwork(c) == instructions.NetworkNone:
		return nil, errors.New("--network=none: programs of a build share the host's network")
	case len(instructions.GetDevices(c)) > 0:
		return nil, errors.New("--device: a build has no devices")
	}
	for _, m := range instructions.GetMounts(c) {
		mount, err := e.mount(m)
		if err != nil {
			return nil, fmt.Errorf("--mount: %w", err)
		}
		r.Mounts = append(r.Mounts, mount)
	}
	return r, nil
}

func firstNonEmpty(a, b []string) []string {
	if len(a) > 0 {
		return a
	}
	return b
}

// mount evaluates a --mount.
func (e *evaluation) mount(m *instructions.Mount) (Mount, error) {
	mount := Mount{m, -1}
	if m.Type == instructions.MountTypeSSH {
		return mount, errors.New("the type ssh is not supported: lend a key as a secret")
	}
	if m.From != "" {
		stage, err := stageNumber(e.stages, m.From)
		if err != nil {
			return mount, err
		}
		mount.Stage = stage
		e.use(stage)
	}
	if m.Target == "" && m.Type != instructions.MountTypeSecret {
		return mount, errors.New("no target")
	}
	if m.Target != "" {
		m.Target = strings.TrimSuffix(e.absolute(m.Target), "/")
	}
	switch {
	case m.Target == "" && m.Type != instructions.MountTypeSecret:
		return mount, errors.New("the target cannot be the root directory")
	case m.Type != instructions.MountTypeBind && mount.Stage >= 0:
		return mount, fmt.Errorf("from is not supported for the type %s", m.Type)
	case mount.Stage >= 0 && !m.ReadOnly:
		return mount, errors.New("files of another stage cannot be changed: copy them")
	}
	return mount, nil
}

// use records that a stage needs another one.
func (e *evaluation) use(stage int) {
	if !slices.Contains(e.stage.Uses, stage) {
		e.stage.Uses = append(e.stage.Uses, stage)
	}
}

// copy evaluates what COPY and ADD have in common.
func (e *evaluation) copy(
	files instructions.SourcesAndDest, from, chown, chmod string, exclude []string,
) (*Copy, error) {
	c := &Copy{Stage: -1, Sources: files.SourcePaths, Destination: e.absolute(files.DestPath), Chown: chown, Chmod: chmod,
		Exclude: exclude}
	for _, f := range files.SourceContents {
		c.Inline = append(c.Inline, Inline{f.Path, f.Data})
	}
	if from != "" {
		stage, err := stageNumber(e.stages, from)
		if err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
		c.Stage = stage
		e.use(stage)
	}
	if len(c.Sources)+len(c.Inline) > 1 && !strings.HasSuffix(c.Destination, "/") {
		return nil, fmt.Errorf("of several files the destination %q must end in a slash", files.DestPath)
	}
	if chmod != "" {
		if _, err := strconv.ParseUint(chmod, 8, 12); err != nil {
			return nil, fmt.Errorf("--chmod: %q is not a mode in octal digits", chmod)
		}
	}
	return c, nil
}

// IsURL reports whether a source of ADD is downloaded.
func IsURL(source string) bool {
	return strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://")
}

// URLName returns the name of the file of a URL, or "" if it has none.
func URLName(source string) string {
	u, err := url.Parse(source)
	if err != nil {
		return ""
	}
	if name := path.Base(u.Path); name != "/" && name != "." && name != ".." {
		return name
	}
	return ""
}

// urls evaluates what ADD says of URLs.
func (added *Copy) urls(c *instructions.AddCommand) error {
	all := 0
	for _, source := range c.SourcePaths {
		switch err := checkURL(source); {
		case err != nil:
			return err
		case !IsURL(source):
			continue
		case URLName(source) == "" && strings.HasSuffix(added.Destination, "/"):
			return fmt.Errorf("%s names no file: name one as the destination", source)
		}
		all++
	}
	added.Unpack = c.Unpack == nil || *c.Unpack
	added.UnpackURLs = c.Unpack != nil && *c.Unpack
	if c.KeepGitDir != nil {
		return errors.New("--keep-git-dir is for Git repositories, which are not supported")
	}
	if c.Checksum == "" {
		return nil
	}
	if all != 1 || len(c.SourcePaths)+len(c.SourceContents) != 1 {
		return errors.New("--checksum is for a single URL")
	}
	sum, err := digest.Parse(c.Checksum)
	if err != nil || sum.Algorithm() != digest.SHA256 {
		return fmt.Errorf("--checksum: %q is not sha256: and 64 hexadecimal digits", c.Checksum)
	}
	added.SHA256 = sum.Encoded()
	return nil
}

// checkURL refuses URLs of ADD that cannot be downloaded.
func checkURL(source string) error {
	if strings.HasPrefix(source, "git@") {
		return fmt.Errorf("%s: a Git repository is not supported: have RUN clone it", source)
	}
	if !strings.Contains(source, "://") {
		return nil
	}
	u, err := url.Parse(source)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a URL", source)
	case u.User != nil:
		return errors.New("a URL with credentials is not supported: have RUN download it with a mounted secret")
	case u.Scheme == "git", u.Scheme == "ssh", IsURL(source) && strings.HasSuffix(u.Path, ".git"):
		return fmt.Errorf("%s: a Git repository is not supported: have RUN clone it", source)
	case !IsURL(source):
		return fmt.Errorf("%s: URLs of %s are not supported, only those of http and https", source, u.Scheme)
	case u.Host == "":
		return fmt.Errorf("%q names no host", source)
	}
	return nil
}

// oneLine returns the source of an instruction on one line.
func oneLine(c instructions.Command) string {
	source, ok := c.(fmt.Stringer)
	if !ok {
		return strings.ToUpper(c.Name())
	}
	return strings.Join(strings.Fields(source.String()), " ")
}

// variableSet holds variables by their names.
type variableSet map[string]string

// variables returns NAME=VALUE texts as a set.
func variables(list []string) variableSet {
	set := variableSet{}
	for _, kv := range list {
		name, value, _ := strings.Cut(kv, "=")
		set[name] = value
	}
	return set
}

// list returns NAME=VALUE texts, sorted.
func (v variableSet) list() []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		list = append(list, name+"="+v[name])
	}
	return list
}

func (v variableSet) getter() shell.EnvGetter { return shell.EnvsFromSlice(v.list()) }

// isProxy reports whether a variable names a proxy: all instructions have those of the caller without an ARG.
func isProxy(name string) bool {
	switch strings.ToLower(name) {
	case "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy":
		return true
	}
	return false
}

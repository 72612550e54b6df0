// A session with Daytona's official SDK, as its users write one. Each step
// prints what it got as one JSON line; sdk_test.go says what that must be.
//
// Environment: DAYTONA_API_URL and DAYTONA_API_KEY as the SDK reads them,
// SNAPSHOT to make a sandbox from, IMAGE to make a snapshot from, and where
// sandboxes reach it a REPOSITORY with its TOKEN.
import { createHash, randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'

// Not its ES module: on Debian's node (18) that one cannot upload.
const { Daytona } = createRequire(import.meta.url)('@daytona/sdk')

const tell = (step, got) => console.log(JSON.stringify({ step, ...got }))
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')
const refused = (promise) =>
  promise.then(
    () => 'nothing',
    (e) => `${e.constructor.name} ${e.statusCode}`,
  )
// The SDK may still show the state of an answer that an event overtook.
const state = (sandbox) => sandbox.refreshData().then(() => sandbox.state)
const name = `sdk-${randomBytes(6).toString('hex')}`
const daytona = new Daytona()

async function session() {
  const sandbox = await daytona.create({
    name,
    snapshot: process.env.SNAPSHOT,
    envVars: { GREETING: 'hello' },
    labels: { purpose: 'sdk' },
    autoStopInterval: 30,
  })
  tell('create', { state: await state(sandbox), snapshot: sandbox.snapshot, autoStop: sandbox.autoStopInterval, named: sandbox.name === name })
  tell('taken', { refusal: await refused(daytona.create({ name, snapshot: process.env.SNAPSHOT })) })
  tell('unknown', { refusal: await refused(daytona.get('no-such-sandbox')) })
  tell('key', { refusal: await refused(new Daytona({ apiKey: 'dtn_wrong', useDeprecatedPolling: true }).get(name)) })

  await inside(sandbox)
  await lifecycle(sandbox)
  await snapshots()
}

async function inside(sandbox) {
  const home = await sandbox.getUserHomeDir()
  await commands(sandbox)
  await sessions(sandbox)
  await files(sandbox, home)
  await git(sandbox, home)
  await preview(sandbox, home)
}

async function commands(sandbox) {
  const run = await sandbox.process.executeCommand('echo "$GREETING $WHO"; pwd; echo oops >&2; exit 3', '/tmp', { WHO: 'SDK' })
  tell('exec', { exitCode: run.exitCode, result: run.result })
  tell('timeout', { refusal: await refused(sandbox.process.executeCommand('sleep 30', undefined, undefined, 1)) })
}

async function sessions(sandbox) {
  const { process } = sandbox
  await process.createSession('work')
  const first = await process.executeSessionCommand('work', { command: 'cd /tmp && COUNT=1; echo out; echo err >&2; (exit 4)' })
  const second = await process.executeSessionCommand('work', { command: 'echo "$COUNT in $PWD"' })
  tell('session', { exitCode: first.exitCode, stdout: first.stdout, stderr: first.stderr, kept: second.stdout })

  const command = 'for i in 1 2 3; do echo "line $i"; echo "warning $i" >&2; sleep 0.1; done; read answer; echo "got $answer"'
  // The echo of the input may come before or after what the command makes of it.
  const started = await process.executeSessionCommand('work', { command, runAsync: true, suppressInputEcho: true })
  const heard = { stdout: '', stderr: '' }
  let answered
  await process.getSessionCommandLogs('work', started.cmdId, (text) => {
    heard.stdout += text
    if (!answered && heard.stdout.includes('line 3')) answered = process.sendSessionCommandInput('work', started.cmdId, 'yes\n')
  }, (text) => {
    heard.stderr += text
  })
  await answered
  const logs = await process.getSessionCommandLogs('work', started.cmdId)
  const ended = await process.getSessionCommand('work', started.cmdId)
  tell('stream', { ...heard, same: logs.stdout === heard.stdout && logs.stderr === heard.stderr, exitCode: ended.exitCode })
  const session = await process.getSession('work')
  await process.deleteSession('work')
  tell('sessions', { commands: session.commands.length, after: await refused(process.getSession('work')) })
}

async function files(sandbox, home) {
  const { fs } = sandbox
  await fs.createFolder(`${home}/data`, '750')
  for (const size of [1 << 10, 50 << 20]) {
    const sent = randomBytes(size)
    await fs.uploadFile(sent, `${home}/data/${size}.bin`)
    const got = await fs.downloadFile(`${home}/data/${size}.bin`)
    const { size: stored } = await fs.getFileDetails(`${home}/data/${size}.bin`)
    tell('transfer', { size: stored, same: sha256(got) === sha256(sent) })
  }
  await fs.uploadFiles([
    { source: Buffer.from('a needle\nhay\n'), destination: `${home}/data/deep/one.txt` },
    { source: Buffer.from('hay\n'), destination: `${home}/data/two.txt` },
  ])
  const named = await fs.searchFiles(`${home}/data`, '*.txt')
  const holding = await fs.findFiles(`${home}/data/deep`, 'needle')
  tell('search', {
    names: named.files.map((f) => f.slice(home.length)).sort(),
    contents: holding.map((m) => ({ ...m, file: m.file.slice(home.length) })),
  })
  const [replaced] = await fs.replaceInFiles([`${home}/data/two.txt`], 'hay', 'straw')
  await fs.moveFiles(`${home}/data/two.txt`, `${home}/data/three.txt`)
  await fs.setFilePermissions(`${home}/data/three.txt`, { mode: '600' })
  const list = await fs.listFiles(`${home}/data`)
  tell('files', {
    replaced: replaced.success,
    content: (await fs.downloadFile(`${home}/data/three.txt`)).toString(),
    list: list.map((f) => `${f.name}${f.isDir ? '/' : ''} ${f.permissions}`).sort(),
    missing: await refused(fs.downloadFile(`${home}/data/none`)),
  })
  await fs.deleteFile(`${home}/data`, true)
  tell('deleted', { refusal: await refused(fs.getFileDetails(`${home}/data`)) })
}

async function git(sandbox, home) {
  const make = [
    'git init -q -b main origin && cd origin && echo one >file && git add file',
    'git -c user.name=ann -c user.email=ann@example.com commit -qm first && git branch other',
  ].join(' && ')
  await sandbox.process.executeCommand(make, home)
  await sandbox.git.clone(`file://${home}/origin`, `${home}/clone`)
  const cloned = await sandbox.git.status(`${home}/clone`)
  await sandbox.git.createBranch(`${home}/clone`, 'topic')
  await sandbox.fs.uploadFile(Buffer.from('two\n'), `${home}/clone/file`)
  await sandbox.fs.uploadFile(Buffer.from('new\n'), `${home}/clone/new`)
  const dirty = await sandbox.git.status(`${home}/clone`)
  const early = await refused(sandbox.git.createBranch(`${home}/clone`, 'early'))
  await sandbox.git.add(`${home}/clone`, ['file', 'new'])
  const { sha } = await sandbox.git.commit(`${home}/clone`, 'second', 'ann', 'ann@example.com')
  const clean = await sandbox.git.status(`${home}/clone`)
  await sandbox.git.checkoutBranch(`${home}/clone`, 'main')
  const { branches } = await sandbox.git.branches(`${home}/clone`)
  const changes = (status) => status.fileStatus.map((f) => `${f.staging}|${f.worktree} ${f.name}`).sort()
  tell('git', {
    cloned: [cloned.currentBranch, changes(cloned)],
    dirty: [dirty.currentBranch, changes(dirty)],
    early,
    committed: /^[0-9a-f]{40}$/.test(sha),
    clean: [clean.currentBranch, changes(clean)],
    branches: branches.sort(),
    back: (await sandbox.fs.downloadFile(`${home}/clone/file`)).toString(),
  })
  const { REPOSITORY, TOKEN } = process.env
  if (REPOSITORY) {
    const into = `${home}/private`
    const without = await refused(sandbox.git.clone(REPOSITORY, into))
    await sandbox.git.clone(REPOSITORY, into, undefined, undefined, 'x-access-token', TOKEN)
    const kept = await sandbox.process.executeCommand('grep -c -F "$TOKEN" private/.git/config', home, { TOKEN })
    tell('private', { without, files: (await sandbox.fs.listFiles(into)).map((f) => f.name).sort(), kept: kept.result.trim() })
  }
}

// server answers one request after another with the request itself.
const server = `
use IO::Socket::INET; $| = 1;
my $s = IO::Socket::INET->new(Listen => 5, LocalAddr => "0.0.0.0:0") or die $!;
print $s->sockport, "\\n";
while (my $c = $s->accept) {
  my $request = "";
  while (<$c>) { last if /^\\r?\\n$/; $request .= $_ }
  print $c "HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: ", length($request), "\\r\\n\\r\\n$request";
  close $c;
}`

async function preview(sandbox, home) {
  await sandbox.fs.uploadFile(Buffer.from(server), `${home}/server.pl`)
  await sandbox.process.createSession('server')
  const { cmdId } = await sandbox.process.executeSessionCommand('server', { command: `perl ${home}/server.pl`, runAsync: true })
  const port = await new Promise((listens) => {
    sandbox.process.getSessionCommandLogs('server', cmdId, (text) => listens(Number(text)), () => {}).catch(() => {})
  })
  const link = await sandbox.getPreviewLink(port)
  const get = (url, headers) => fetch(url, { headers, redirect: 'manual' })
  const open = await get(link.url, { 'x-daytona-preview-token': link.token })
  const closed = await get(link.url)
  const request = await open.text()
  const signed = await sandbox.getSignedPreviewUrl(port, 60)
  const byURL = await get(signed.url)
  await sandbox.expireSignedPreviewUrl(port, signed.token)
  const expired = await get(signed.url)
  const nobody = await sandbox.getPreviewLink(1)
  tell('preview', {
    open: open.status,
    reached: request.startsWith('GET / HTTP/1.1'),
    tokenSeen: request.includes(link.token),
    closed: closed.status,
    signed: byURL.status,
    expired: expired.status,
    nobody: (await get(nobody.url, { 'x-daytona-preview-token': nobody.token })).status,
  })
}

async function lifecycle(sandbox) {
  await sandbox.setLabels({ purpose: 'sdk', stage: 'late' })
  const listed = async (query) => {
    const names = []
    for await (const s of daytona.list(query)) names.push(s.name)
    return names.includes(name)
  }
  tell('labels', {
    labels: sandbox.labels,
    found: await listed({ labels: { stage: 'late' } }),
    other: await listed({ labels: { stage: 'early' } }),
    stopped: await listed({ states: ['stopped'] }),
  })
  await sandbox.setAutoArchiveInterval(120)
  await sandbox.setAutoDeleteInterval(240)
  await sandbox.updateNetworkSettings({ networkBlockAll: true })
  await sandbox.refreshData()
  tell('settings', { archive: sandbox.autoArchiveInterval, delete: sandbox.autoDeleteInterval, blocked: sandbox.networkBlockAll })

  await sandbox.process.executeCommand('echo kept >kept')
  await sandbox.stop()
  const stopped = await state(sandbox)
  const asleep = await refused(sandbox.process.executeCommand('true'))
  await sandbox.start()
  const kept = await sandbox.process.executeCommand('cat kept; echo "$GREETING"')
  tell('restart', { stopped, asleep, started: await state(sandbox), kept: kept.result })

  const early = await refused(sandbox.archive())
  await sandbox.stop()
  await sandbox.archive()
  while ((await state(sandbox)) !== 'archived') await new Promise((soon) => setTimeout(soon, 50))
  await sandbox.start()
  const still = await sandbox.process.executeCommand('cat kept')
  tell('archive', { early, restored: await state(sandbox), kept: still.result })

  await sandbox.delete(60, true)
  const gone = await daytona.get(sandbox.id)
  tell('delete', { state: gone.state, byName: await refused(daytona.get(name)), listed: await listed({ name }) })
}

async function snapshots() {
  const told = []
  const made = await daytona.snapshot.create(
    { name, image: process.env.IMAGE, resources: { cpu: 1, memory: 1, disk: 3 } },
    { onLogs: (line) => told.push(line.replaceAll(name, 'NAME')) },
  )
  const again = await refused(daytona.snapshot.create({ name, image: process.env.IMAGE }))
  const { items } = await daytona.snapshot.list()
  const sandbox = await daytona.create({ name, snapshot: name })
  const run = await sandbox.process.executeCommand('echo made')
  await sandbox.delete()
  await daytona.snapshot.delete(await daytona.snapshot.get(name))
  let left = 'active'
  while (!left.startsWith('DaytonaNotFoundError')) {
    await new Promise((soon) => setTimeout(soon, 50))
    left = await refused(daytona.snapshot.get(name))
  }
  tell('snapshot', {
    state: made.state, memory: made.mem, told: [told.at(0), told.at(-1)], again,
    listed: items.some((s) => s.name === name), made: run.result, left,
  })
}

try {
  await session()
} finally {
  // What a failed step left behind.
  for await (const left of daytona.list({ name })) await left.delete()
}

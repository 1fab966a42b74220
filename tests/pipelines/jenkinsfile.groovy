// Stands in for Jenkins: reads a declarative Jenkinsfile and plays it, its `sh` for real. The branch or the change
// request is what Jenkins' own variables say. Usage: groovy jenkinsfile.groovy JENKINSFILE WORKSPACE

class Environment {
    Map<String, String> all
    void setProperty(String name, value) { all[name] = value.toString() }
    def getProperty(String name) { name == 'all' ? this.@all : all[name] }
}

class Conditions {
    Map<String, String> env
    List<Boolean> found = []
    void changeRequest() { found << (env.CHANGE_ID != null) }
    void branch(String name) { found << (env.CHANGE_ID == null && env.BRANCH_NAME == name) }
    void anyOf(Closure inner) { found << of(inner).any() }
    void allOf(Closure inner) { found << of(inner).every() }
    void not(Closure inner) { found << !of(inner).every() }
    List<Boolean> of(Closure inner) {
        def conditions = new Conditions(env: env)
        Jenkins.with(inner, conditions)
        conditions.found
    }
}

class Steps {
    Map<String, String> env
    File workspace
    void sh(String script) {
        println "+ ${script}"
        def process = ['bash', '-e', '-c', script].execute(env.collect { k, v -> "${k}=${v}".toString() }, workspace)
        process.outputStream.close()
        process.waitForProcessOutput(System.out, System.err)
        if (process.exitValue() != 0) throw new RuntimeException("script returned exit code ${process.exitValue()}")
    }
    void input(Map asked) { println "Asked ${asked.submitter}: ${asked.message}" }
    Map sshUserPrivateKey(Map key) { key }
    void withCredentials(List<Map> keys, Closure inner) {
        def more = keys.collectEntries { [(it.keyFileVariable): System.getenv('CREDENTIAL_' + it.credentialsId.replace('-', '_'))] }
        Jenkins.with(inner, new Steps(env: env + more, workspace: workspace))
    }
    void junit(Map results) { println "junit ${results.testResults}: ${Jenkins.matching(workspace, results.testResults)}" }
    void archiveArtifacts(Map kept) { println "archived ${Jenkins.matching(workspace, kept.artifacts)}" }
}

class Stage {
    Jenkins jenkins
    boolean runs = true
    void when(Closure conditions) { runs = new Conditions(env: jenkins.env).of(conditions).every() }
    void steps(Closure inner) {
        if (runs) Jenkins.with(inner, new Steps(env: jenkins.env, workspace: jenkins.workspace))
    }
}

class Jenkins {
    Map<String, String> env
    File workspace
    def any = 'any'
    Closure afterwards = {}

    static void with(Closure inner, delegate) {
        inner.delegate = delegate
        inner.resolveStrategy = Closure.DELEGATE_FIRST
        inner.call()
    }
    static List<String> matching(File folder, String glob) {
        def matcher = java.nio.file.FileSystems.default.getPathMatcher("glob:${glob}")
        def found = []
        folder.eachFileRecurse(groovy.io.FileType.FILES) {
            if (matcher.matches(folder.toPath().relativize(it.toPath()))) found << it.name
        }
        found.sort()
    }

    void agent(which) {}
    void options(Closure inner) {}
    void environment(Closure inner) { with(inner, new Environment(all: env)) }
    void stages(Closure inner) { with(inner, this) }
    void stage(String name, Closure inner) {
        println "[${name}]"
        with(inner, new Stage(jenkins: this))
    }
    void post(Closure inner) { afterwards = inner }
    void always(Closure inner) { with(inner, new Steps(env: env, workspace: workspace)) }

    void play(Closure pipeline) {
        try {
            with(pipeline, this)
        } finally {
            with(afterwards, this)
        }
    }
}

def jenkins = new Jenkins(env: new LinkedHashMap(System.getenv()), workspace: new File(args[1]))
// `post` stands behind `stages`, and is wanted when one of them fails.
def text = new File(args[0]).text
def parts = text =~ /(?s)^(.*?pipeline \{.*?)(\n    stages \{.*?\n    \}\n)(.*)(\n\}\s*)$/
assert parts.matches() : 'a pipeline with stages'
def turned = parts.group(1) + parts.group(3) + parts.group(2) + parts.group(4)
try {
    new GroovyShell(new Binding(pipeline: { Closure inner -> jenkins.play(inner) })).evaluate(turned)
} catch (RuntimeException failed) {
    println "FAILURE: ${failed.message}"
    System.exit(1)
}
println 'SUCCESS'

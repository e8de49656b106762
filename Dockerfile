# dupmine on a CPU, with both models inside: it needs no network when it runs.
#   docker build --tag dupmine .
#   docker run --rm dupmine                                          # mines the bundled sample
#   docker run --rm --user "$(id -u)" --volume "$PWD:/data" dupmine mine questions.csv --out duplicates
FROM python:3.12-slim AS build
RUN python -m venv /opt/dupmine
# The CPU build of torch (2.x.y+cpu sorts above 2.x.y): without CUDA the image is gigabytes smaller.
ENV PATH=/opt/dupmine/bin:$PATH PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu \
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY constraints.txt .
# A layer of its own, which lasts until the pins change.
RUN pip install --constraint constraints.txt torch
COPY . .
RUN pip install --constraint constraints.txt .

FROM python:3.12-slim
# OpenMP, for torch, faiss and LightGBM
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/dupmine /opt/dupmine
COPY examples/questions.csv /opt/dupmine/share/questions.csv
# What is measured once per model is kept here; any user may write it.
ENV PATH=/opt/dupmine/bin:$PATH DUPMINE_CACHE=/var/cache/dupmine
RUN useradd --create-home dupmine && mkdir --mode 1777 /var/cache/dupmine && mkdir /data && chown dupmine /data
USER dupmine
WORKDIR /data
ENTRYPOINT ["dupmine"]
CMD ["mine", "/opt/dupmine/share/questions.csv", "--out", "/tmp/duplicates"]

# The demo on a CPU; the page and the result are left in the folder that is mounted. (Not run here: no base image can be fetched.)
#   docker build -t icd_nb . && docker run --rm -v "$PWD/demo:/demo" icd_nb
FROM python:3.12-slim
COPY . /icd_nb
RUN pip install --no-cache-dir /icd_nb
WORKDIR /demo
ENTRYPOINT ["icd_nb"]
CMD ["reproduce", "--scales", "[1,2,4]"]
